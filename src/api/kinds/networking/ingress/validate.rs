//! Validation of Ingresses.

use apimachinery::{field::ErrorList, names};
use serde_json::Value;

use crate::{
    kinds::core::service::load_balancer_hostname,
    validation::{At, required_text, text},
};

/// Errors of the spec.
pub(super) fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (rules, default) = (spec.key("rules"), spec.key("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        errors.push(spec.invalid_value(rules.value, "either `defaultBackend` or `rules` must be specified"));
    }
    if default.is_set() {
        backend(&default, &mut errors);
    }
    for rule in rules.items() {
        host(&rule.key("host"), &mut errors);
        let http = rule.key("http");
        if !http.is_set() {
            continue;
        }
        if http.key("paths").is_empty() {
            errors.push(http.key("paths").required(""));
        }
        http.key("paths").items().for_each(|one| path(&one, &mut errors));
    }
    for tls in spec.key("tls").items() {
        tls.key("hosts").items().for_each(|host| dns_name(&host, &mut errors));
        if !tls.key("secretName").text().is_empty() {
            text(&tls.key("secretName"), names::dns1123_subdomain, &mut errors);
        }
    }
    if spec.key("ingressClassName").is_set() {
        text(&spec.key("ingressClassName"), names::dns1123_subdomain, &mut errors);
    }
    errors
}

fn host(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().is_empty() {
        return;
    }
    if names::parse_ip_sloppy(at.text()).is_some() || at.text().parse::<std::net::Ipv6Addr>().is_ok() {
        errors.push(at.invalid("must be a DNS name, not an IP address"));
    }
    dns_name(at, errors);
}

fn dns_name(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().contains('*') {
        text(at, names::wildcard_dns1123_subdomain, errors);
    } else {
        text(at, names::dns1123_subdomain, errors);
    }
}

fn path(at: &At<'_>, errors: &mut ErrorList) {
    let (kind, path) = (at.key("pathType"), at.key("path"));
    if !kind.is_set() {
        errors.push(kind.required("pathType must be specified"));
        return;
    }
    let shown = Value::from(path.text());
    let absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !absolute {
                errors.push(path.invalid_value(&shown, "must be an absolute path"));
            }
            for sequence in ["//", "/./", "/../", "%2f", "%2F"]
                .iter()
                .filter(|s| path.text().contains(**s))
            {
                errors.push(path.invalid(&format!("must not contain '{sequence}'")));
            }
            for end in ["/..", "/."].iter().filter(|s| path.text().ends_with(**s)) {
                errors.push(path.invalid(&format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !path.text().is_empty() && !absolute {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
    backend(&at.key("backend"), errors);
}

fn backend(at: &At<'_>, errors: &mut ErrorList) {
    let (resource, service) = (at.key("resource"), at.key("service"));
    let refuse = |detail: &str| at.invalid_value(&"".into(), detail);
    match (resource.is_set(), service.is_set()) {
        (true, true) => errors.push(refuse("cannot set both resource and service backends")),
        (true, false) => reference(&resource, errors),
        (false, false) => errors.push(refuse("resource or service backend is required")),
        (false, true) => {
            required_text(&service.key("name"), names::dns1123_label, errors);
            let (name, number) = (service.key("port").key("name"), service.key("port").key("number"));
            match (name.text().is_empty(), number.int() == 0) {
                (false, false) => errors.push(refuse("cannot set both port name & port number")),
                (false, true) => text(&name, names::port_name, errors),
                (true, false) => crate::validation::container::port_number(&number, errors),
                (true, true) => errors.push(at.required("port name or number is required")),
            }
        }
    }
}

/// Errors of a reference to an object of any kind.
pub(crate) fn reference(at: &At<'_>, errors: &mut ErrorList) {
    if at.key("apiGroup").is_set() {
        text(&at.key("apiGroup"), names::dns1123_subdomain, errors);
    }
    required_text(&at.key("kind"), names::path_segment_name, errors);
    required_text(&at.key("name"), names::path_segment_name, errors);
}

/// Errors of the status.
pub(super) fn status(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for ingress in status.key("loadBalancer").key("ingress").items() {
        if !ingress.key("ip").text().is_empty() {
            text(&ingress.key("ip"), names::ip_legacy, &mut errors);
        }
        load_balancer_hostname(&ingress.key("hostname"), &mut errors);
    }
    errors
}
