//! Containers: names, ports, environment, mounts.

use std::collections::{BTreeMap, HashSet};

use apimachinery::{field::ErrorList, names};
use serde_json::Value;

use super::{
    At, one_of,
    probe::{self, Probe},
    required_text, resources, security, text, volume,
};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// What the rules of containers depend on.
pub(crate) struct Context<'a> {
    /// Volumes of the pod, by name.
    pub(crate) volumes: BTreeMap<&'a str, &'a Value>,
    /// `spec.terminationGracePeriodSeconds`.
    pub(crate) grace: Option<i64>,

    /// Whether users of the pod are users of the node.
    pub(crate) host_users: bool,
    /// Names of `spec.resourceClaims`.
    pub(crate) claims: HashSet<&'a str>,
}

/// Errors of `spec.containers`.
pub(crate) fn containers(at: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    if at.is_empty() {
        errors.push(at.required(""));
        return;
    }
    let mut seen = HashSet::new();
    for container in at.items() {
        common(&container, context, errors);
        if !seen.insert(container.key("name").text()) {
            errors.push(container.key("name").duplicate());
        }
        handlers(&container, context, errors);
        one_restart_policy(&container, errors);
    }
    host_ports(at.items(), errors);
}

/// Errors of `spec.initContainers`.
pub(crate) fn init_containers(at: &At<'_>, regular: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    const SIDECARS_ONLY: &str = "may not be set for init containers without restartPolicy=Always";
    let mut seen: HashSet<&str> = regular.items().map(|c| c.key("name").text()).collect();
    for container in at.items() {
        common(&container, context, errors);
        one_restart_policy(&container, errors);
        let name = container.key("name");
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        host_ports(std::iter::once(container.clone()), errors);
        if container.key("restartPolicy").text() == "Always" {
            handlers(&container, context, errors);
            continue;
        }
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.key(key).is_set() {
                errors.push(container.key(key).forbidden(SIDECARS_ONLY));
            }
        }
    }
}

fn handlers(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let lifecycle = container.key("lifecycle");
    if lifecycle.is_set() {
        probe::lifecycle(&lifecycle, context.grace, errors);
    }
    probe::probe(&container.key("livenessProbe"), Probe::Liveness, context.grace, errors);
    probe::probe(
        &container.key("readinessProbe"),
        Probe::Readiness,
        context.grace,
        errors,
    );
    probe::probe(&container.key("startupProbe"), Probe::Startup, context.grace, errors);
}

fn one_restart_policy(container: &At<'_>, errors: &mut ErrorList) {
    let policy = container.key("restartPolicy");
    let rules = container.key("restartPolicyRules");
    if !policy.is_set() {
        if !rules.is_empty() {
            errors.push(policy.required("must specify restartPolicy when restart rules are used"));
        }
        return;
    }
    super::one_of_if_set(&policy, &["Always", "Never", "OnFailure"], errors);
}

/// Errors every kind of container can have.
pub(crate) fn common(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    required_text(&container.key("name"), names::dns1123_label, errors);
    if container.key("image").text().is_empty() {
        errors.push(container.key("image").required(""));
    }
    one_of(
        &container.key("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
        errors,
    );
    ports(&container.key("ports"), errors);
    environment(&container.key("env"), errors);
    environment_from(&container.key("envFrom"), errors);
    volume::mounts(container, &context.volumes, errors);
    volume::devices(container, &context.volumes, errors);
    one_of(
        &container.key("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        errors,
    );
    resources::container(&container.key("resources"), &context.claims, errors);
    security::container(&container.key("securityContext"), context.host_users, errors);
}

fn ports(at: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for port in at.items() {
        let name = port.key("name");
        if !name.text().is_empty() {
            let before = errors.len();
            text(&name, names::port_name, errors);
            if errors.len() == before && !seen.insert(name.text()) {
                errors.push(name.duplicate());
            }
        }
        let number = port.key("containerPort");
        if number.int() == 0 {
            errors.push(number.required(""));
        } else {
            port_number(&number, errors);
        }
        if port.key("hostPort").int() != 0 {
            port_number(&port.key("hostPort"), errors);
        }
        one_of(&port.key("protocol"), PROTOCOLS, errors);
    }
}

/// A port that is a number.
pub(crate) fn port_number(at: &At<'_>, errors: &mut ErrorList) {
    errors.extend(names::port_number(at.int()).iter().map(|problem| at.invalid(problem)));
}

/// Ports of the node that two containers of the group want.
fn host_ports<'a>(containers: impl Iterator<Item = At<'a>>, errors: &mut ErrorList) {
    let mut taken = HashSet::new();
    for port in containers.flat_map(|c| c.key("ports").items()) {
        let host_port = port.key("hostPort");
        if host_port.int() == 0 {
            continue;
        }
        let socket = format!(
            "{}/{}/{}",
            port.key("protocol").text(),
            port.key("hostIP").text(),
            host_port.int()
        );
        if taken.contains(&socket) {
            errors.push(apimachinery::field::duplicate(host_port.path.as_str(), &socket.into()));
        } else {
            taken.insert(socket);
        }
    }
}

fn environment(at: &At<'_>, errors: &mut ErrorList) {
    for variable in at.items() {
        required_text(&variable.key("name"), names::env_var_name, errors);
        let source = variable.key("valueFrom");
        if source.is_set() {
            value_from(&source, variable.key("value").text(), errors);
        }
    }
}

fn value_from(at: &At<'_>, value: &str, errors: &mut ErrorList) {
    let sources = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let mut found = 0;
    for source in sources.map(|name| at.key(name)).iter().filter(|s| s.is_set()) {
        found += 1;
        match source.path.rsplit('.').next() {
            Some("fieldRef") => field_ref(source, ENV_FIELDS, errors),
            Some("resourceFieldRef") => resources::field_ref(source, false, errors),
            Some("configMapKeyRef" | "secretKeyRef") => {
                text(&source.key("name"), names::dns1123_subdomain, errors);
                required_text(&source.key("key"), names::config_map_key, errors);
            }
            _ => {
                required_text(&source.key("key"), names::env_var_name, errors);
                required_text(&source.key("volumeName"), names::dns1123_label, errors);
                required_text(&source.key("path"), |_| Vec::new(), errors);
                volume::no_backsteps(&source.key("path"), errors);
            }
        }
    }
    let detail = match (found, value.is_empty()) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        (_, false) => "may not be specified when `value` is not empty",
        (1, true) => return,
        (_, true) => "may not have more than one field specified at a time",
    };
    errors.push(at.invalid_value(&"".into(), detail));
}

/// Fields of the pod that environment variables may have, sorted.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields there are at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];

/// Errors of a reference to a field of the pod.
pub(crate) fn field_ref(at: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    let path = at.key("fieldPath");
    if at.key("apiVersion").text().is_empty() {
        errors.push(at.key("apiVersion").required(""));
        return;
    }
    if at.key("apiVersion").text() != "v1" {
        let version = at.key("apiVersion").text();
        errors.push(path.invalid(&format!(
            "error converting fieldPath: unsupported pod version: {version}"
        )));
        return;
    }
    if path.text().is_empty() {
        errors.push(path.required(""));
        return;
    }
    if let Some((field, subscript)) = path.text().strip_suffix("']").and_then(|p| p.split_once("['")) {
        let subscript = if field == "metadata.annotations" {
            subscript.to_lowercase()
        } else {
            subscript.to_owned()
        };
        if matches!(field, "metadata.annotations" | "metadata.labels") {
            let problems = names::qualified_name(&subscript);
            errors.extend(problems.iter().map(|p| at.invalid_value(&subscript.as_str().into(), p)));
        } else {
            errors.push(path.invalid(&format!(
                "error converting fieldPath: field label does not support subscript: {}",
                path.text()
            )));
        }
        return;
    }
    if !KNOWN_FIELDS.contains(&path.text()) {
        let detail = format!("error converting fieldPath: field label not supported: {}", path.text());
        errors.push(path.invalid(&detail));
    } else if !allowed.contains(&path.text()) {
        errors.push(path.not_supported(allowed));
    }
}

fn environment_from(at: &At<'_>, errors: &mut ErrorList) {
    for source in at.items() {
        if !source.key("prefix").text().is_empty() {
            text(&source.key("prefix"), names::env_var_name, errors);
        }
        let given = ["configMapRef", "secretRef"].map(|name| source.key(name));
        let given: Vec<&At<'_>> = given.iter().filter(|s| s.is_set()).collect();
        for reference in &given {
            required_text(&reference.key("name"), names::dns1123_subdomain, errors);
        }
        match given.len() {
            0 => errors.push(at.invalid_value(&"".into(), "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(at.invalid_value(&"".into(), "may not have more than one field specified at a time")),
        }
    }
}
