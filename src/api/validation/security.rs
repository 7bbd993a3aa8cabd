//! Security contexts of pods and containers.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names};
use serde_json::{Value, json};

use super::{At, one_of_if_set};

const MAX_ID: i64 = i32::MAX as i64;

fn id(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_set() {
        errors.extend(
            names::in_range(at.int(), 0, MAX_ID)
                .iter()
                .map(|problem| at.invalid(problem)),
        );
    }
}

/// Errors of the security context of a container; absent is fine.
pub(crate) fn container(at: &At<'_>, host_users: bool, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    id(&at.key("runAsUser"), errors);
    id(&at.key("runAsGroup"), errors);
    let mount = at.key("procMount");
    one_of_if_set(&mount, &["Default", "Unmasked"], errors);
    if host_users && mount.text() == "Unmasked" {
        errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
    }
    profile(at, "seccompProfile", errors);
    let escalation = at.key("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.flag() {
        if at.key("privileged").flag() {
            errors.push(at.invalid_value(
                &internal(at),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ));
        }
        if at
            .key("capabilities")
            .key("add")
            .items()
            .any(|c| c.text() == "CAP_SYS_ADMIN")
        {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(at.invalid_value(&internal(at), detail));
        }
    }
    profile(at, "appArmorProfile", errors);
}

/// The context as kube-apiserver shows it in errors: with the names of its own types.
fn internal(at: &At<'_>) -> Value {
    let given = |name: &str| at.key(name).value;
    let capabilities = at.key("capabilities");
    let capabilities = capabilities
        .is_set()
        .then(|| json!({"Add": capabilities.key("add").value, "Drop": capabilities.key("drop").value}));
    json!({
        "Capabilities": capabilities,
        "Privileged": given("privileged"),
        "SELinuxOptions": given("seLinuxOptions"),
        "WindowsOptions": given("windowsOptions"),
        "RunAsUser": given("runAsUser"),
        "RunAsGroup": given("runAsGroup"),
        "RunAsNonRoot": given("runAsNonRoot"),
        "ReadOnlyRootFilesystem": given("readOnlyRootFilesystem"),
        "AllowPrivilegeEscalation": given("allowPrivilegeEscalation"),
        "ProcMount": given("procMount"),
        "SeccompProfile": shown_profile(&at.key("seccompProfile")),
        "AppArmorProfile": shown_profile(&at.key("appArmorProfile")),
    })
}

fn shown_profile(at: &At<'_>) -> Option<Value> {
    at.is_set()
        .then(|| json!({"Type": at.key("type").value, "LocalhostProfile": at.key("localhostProfile").value}))
}

/// Errors of the security context of a pod; absent is fine.
pub(crate) fn pod(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&at.key(name), errors);
    }
    at.key("supplementalGroups")
        .items()
        .for_each(|group| id(&group, errors));
    let mut seen = HashSet::new();
    for sysctl in at.key("sysctls").items() {
        let name = sysctl.key("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if !is_sysctl(name.text()) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.push(name.invalid(&detail));
        } else if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
    one_of_if_set(&at.key("fsGroupChangePolicy"), &["Always", "OnRootMismatch"], errors);
    profile(at, "seccompProfile", errors);
    profile(at, "appArmorProfile", errors);
    one_of_if_set(&at.key("supplementalGroupsPolicy"), &["Merge", "Strict"], errors);
    one_of_if_set(&at.key("seLinuxChangePolicy"), &["MountOption", "Recursive"], errors);
}

const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl(name: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            part.starts_with(alnum) && part.ends_with(alnum) && part.chars().all(|c| alnum(c) || c == '-' || c == '_')
        })
}

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

/// Seccomp and AppArmor profiles have the same shape and nearly the same rules.
fn profile(at: &At<'_>, name: &str, errors: &mut ErrorList) {
    let at = at.key(name);
    if !at.is_set() {
        return;
    }
    let seccomp = name == "seccompProfile";
    let what = if seccomp { "seccomp" } else { "AppArmor" };
    let (kind, local) = (at.key("type"), at.key("localhostProfile"));
    match kind.text() {
        "" => errors.push(kind.required(&format!("type is required when {name} is set"))),
        other if !PROFILES.contains(&other) => errors.push(kind.not_supported(PROFILES)),
        _ => {}
    }
    if kind.text() != "Localhost" {
        if local.is_set() {
            let internal = json!({"Type": kind.text(), "LocalhostProfile": local.value});
            let shown = if seccomp { &internal } else { local.value };
            errors.push(local.invalid_value(shown, &format!("can only be set when {what} type is Localhost")));
        }
    } else if !local.is_set() || (!seccomp && local.text().is_empty()) {
        errors.push(local.required(&format!("must be set when {what} type is Localhost")));
    } else if seccomp {
        super::volume::local_descending(&local, errors);
    } else if local.text().trim() != local.text() {
        errors.push(local.invalid("must not be padded with whitespace"));
    }
}
