//! Probes and lifecycle handlers.

use apimachinery::{field::ErrorList, names};

use super::{At, non_negative, port_number_or_name, required_text, text};

const ONE_HANDLER: &str = "may not specify more than 1 handler type";

/// What kind of probe it is: their rules differ a little.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Restarts the container.
    Liveness,
    /// Takes the pod out of its services.
    Readiness,
    /// Holds the other two back.
    Startup,
}

/// Errors of a probe; absent is fine.
pub(crate) fn probe(at: &At<'_>, kind: Probe, grace: Option<i64>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    handler(at, &["exec", "httpGet", "tcpSocket", "grpc"], grace, errors);
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        non_negative(&at.key(name), errors);
    }
    let own_grace = at.key("terminationGracePeriodSeconds");
    if own_grace.is_set() && own_grace.int() <= 0 {
        errors.push(own_grace.invalid("must be greater than 0"));
    }
    if kind == Probe::Readiness {
        if own_grace.is_set() {
            errors.push(own_grace.invalid("must not be set for readinessProbes"));
        }
    } else if at.key("successThreshold").int() != 1 {
        errors.push(at.key("successThreshold").invalid("must be 1"));
    }
}

/// Errors of what runs after a container's start and before its end.
pub(crate) fn lifecycle(at: &At<'_>, grace: Option<i64>, errors: &mut ErrorList) {
    for name in ["postStart", "preStop"] {
        let hook = at.key(name);
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
}

fn handler(at: &At<'_>, kinds: &[&str], grace: Option<i64>, errors: &mut ErrorList) {
    let mut found = false;
    for kind in kinds {
        let action = at.key(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            errors.push(action.forbidden(ONE_HANDLER));
            continue;
        }
        found = true;
        match *kind {
            "exec" if action.key("command").is_empty() => errors.push(action.key("command").required("")),
            "httpGet" => http_get(&action, errors),
            "tcpSocket" | "grpc" => port_number_or_name(&action.key("port"), errors),
            "sleep" => sleep(&action, grace, errors),
            _ => {}
        }
    }
    if !found {
        errors.push(at.required("must specify a handler type"));
    }
}

fn http_get(at: &At<'_>, errors: &mut ErrorList) {
    required_text(&at.key("path"), |_| Vec::new(), errors);
    port_number_or_name(&at.key("port"), errors);
    let scheme = at.key("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.text()) {
        errors.push(scheme.not_supported(&["HTTP", "HTTPS"]));
    }
    for header in at.key("httpHeaders").items() {
        let name = At::new(&header.value["name"], format!("{}.httpHeaders", at.path));
        text(&name, names::http_header_name, errors);
    }
}

fn sleep(at: &At<'_>, grace: Option<i64>, errors: &mut ErrorList) {
    let seconds = at.key("seconds");
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds.int())
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(at.invalid_value(&seconds.int().into(), &detail));
    }
}
