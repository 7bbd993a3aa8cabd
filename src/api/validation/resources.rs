//! Requests and limits of resources.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names, quantity::Quantity};
use serde_json::Value;

use super::{At, NON_NEGATIVE};

/// Resources that are counted whole, extended ones apart.
const WHOLE: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources quotas and containers know by a plain name.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "requests.storage",
    "storage",
    "services.nodeports",
    "services.loadbalancers",
];

fn huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Resources of Kubernetes itself: without a domain, or in one of its own.
fn native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn extended(name: &str) -> bool {
    !native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn overcommit(name: &str) -> bool {
    native(name) && !huge_pages(name)
}

/// The quantity there, if it is one.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    (!value.is_null()).then(|| Quantity::from_json(value).ok()).flatten()
}

/// Errors of an amount of a resource: negative, or parts of what only comes whole.
pub(crate) fn amount(at: &At<'_>, name: &str, errors: &mut ErrorList) {
    let Some(quantity) = quantity(at.value) else { return };
    let shown = quantity.to_string();
    if quantity.sign() < 0 {
        errors.push(at.invalid_value(&shown.as_str().into(), NON_NEGATIVE));
    }
    if (WHOLE.contains(&name) || extended(name)) && quantity.milli_value() % 1000 != 0 {
        errors.push(at.invalid_value(&shown.into(), "must be an integer"));
    }
}

/// Errors of the name of a resource, wherever it stands.
pub(crate) fn name(at: &At<'_>, name: &str, errors: &mut ErrorList) -> bool {
    let shown = Value::from(name);
    let before = errors.len();
    errors.extend(
        names::qualified_name(name)
            .iter()
            .map(|problem| at.invalid_value(&shown, problem)),
    );
    if errors.len() == before && !name.contains('/') && !STANDARD.contains(&name) && !huge_pages(name) {
        errors.push(at.invalid_value(&shown, "must be a standard resource type or fully qualified"));
    }
    errors.len() == before
}

/// Whether quotas know the resource by a plain name.
pub(crate) fn counted_by_quotas(name: &str) -> bool {
    (STANDARD.contains(&name) && name != "storage") || name.contains("hugepages-")
}

/// Errors of the name of a resource of a container.
pub(crate) fn container_name(at: &At<'_>, resource: &str, errors: &mut ErrorList) {
    name(at, resource, errors);
    let shown = Value::from(resource);
    if !resource.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&resource) && !huge_pages(resource) {
            errors.push(at.invalid_value(&shown, "must be a standard resource for containers"));
        }
    } else if !native(resource) && !extended(resource) {
        errors.push(at.invalid_value(&shown, "doesn't follow extended resource name standard"));
    }
}

/// Errors of the resources of a container.
pub(crate) fn container(at: &At<'_>, claims: &HashSet<&str>, errors: &mut ErrorList) {
    let (limits, requests) = (at.key("limits"), at.key("requests"));
    for (resource, limit) in limits.entries() {
        container_name(&limit, resource, errors);
        amount(&limit, resource, errors);
    }
    for (resource, request) in requests.entries() {
        container_name(&request, resource, errors);
        amount(&request, resource, errors);
        not_above_limit(&limits, &requests, resource, errors);
    }
    let names: Vec<&str> = limits
        .entries()
        .chain(requests.entries())
        .map(|(name, _)| name)
        .collect();
    if names.iter().any(|n| huge_pages(n)) && !names.iter().any(|n| ["cpu", "memory"].contains(n)) {
        errors.push(at.forbidden("HugePages require cpu or memory"));
    }
    for claim in at.key("claims").items() {
        if claim.key("name").text().is_empty() {
            errors.push(claim.required(""));
        } else if !claims.contains(claim.key("name").text()) {
            let mut error = apimachinery::field::not_found(claim.path.as_str(), claim.key("name").value);
            error
                .message
                .push_str(": must be one of the names in pod.spec.resourceClaims");
            let mut known: Vec<&str> = claims.iter().copied().collect();
            known.sort_unstable();
            error.message.push_str(&match known.as_slice() {
                [] => " which is empty".to_owned(),
                known => format!(": {}", known.join(", ")),
            });
            errors.push(error);
        }
    }
}

fn not_above_limit(limits: &At<'_>, requests: &At<'_>, resource: &str, errors: &mut ErrorList) {
    let Some(request) = quantity(&requests.value[resource]) else {
        return;
    };
    let shown = Value::from(request.to_string());
    match quantity(&limits.value[resource]) {
        Some(limit) if request != limit && !overcommit(resource) => {
            let detail = format!("must be equal to {resource} limit of {limit}");
            errors.push(requests.invalid_value(&shown, &detail));
        }
        Some(limit) if request > limit => {
            let detail = format!("must be less than or equal to {resource} limit of {limit}");
            errors.push(requests.invalid_value(&shown, &detail));
        }
        None if !overcommit(resource) => {
            errors.push(limits.required("Limit must be set for non overcommitable resources"));
        }
        _ => {}
    }
}

const CONTAINER_RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Errors of a reference to a resource of a container, in an environment variable or in a volume.
pub(crate) fn field_ref(at: &At<'_>, volume: bool, errors: &mut ErrorList) {
    let (container, resource) = (at.key("containerName"), at.key("resource"));
    if volume && container.text().is_empty() {
        errors.push(container.required(""));
    } else if resource.text().is_empty() {
        errors.push(resource.required(""));
    } else if !CONTAINER_RESOURCES.contains(&resource.text())
        && !["requests.hugepages-", "limits.hugepages-"]
            .iter()
            .any(|p| resource.text().starts_with(p))
    {
        errors.push(resource.not_supported(CONTAINER_RESOURCES));
    }
    divisor(at, resource.text(), errors);
}

fn divisor(at: &At<'_>, resource: &str, errors: &mut ErrorList) {
    const BYTES: &[&str] = &[
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let Some(given) = quantity(&at.value["divisor"]).filter(|q| !q.is_zero()) else {
        return;
    };
    let given = given.to_string();
    let (of, fine) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => ("cpu", ["1m", "1"].contains(&given.as_str())),
        "memory" => ("memory", BYTES.contains(&given.as_str())),
        "ephemeral-storage" => ("local ephemeral storage", BYTES.contains(&given.as_str())),
        name if huge_pages(name) => ("hugepages", BYTES.contains(&given.as_str())),
        _ => return,
    };
    if !fine {
        let values = if of == "cpu" {
            "1m and 1".to_owned()
        } else {
            BYTES.join(", ")
        };
        let detail = format!("only divisor's values {values} are supported with the {of} resource");
        errors.push(at.key("divisor").invalid_value(&resource.into(), &detail));
    }
}

/// Errors of names of images' and nodes' resource lists, as capacity.
pub(crate) fn list(at: &At<'_>, errors: &mut ErrorList) {
    for (resource, entry) in at.entries() {
        name(&entry, resource, errors);
        amount(&entry, resource, errors);
    }
}
