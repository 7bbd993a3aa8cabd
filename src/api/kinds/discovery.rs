//! EndpointSlice in `discovery.k8s.io/v1`.

use std::{collections::HashSet, net::IpAddr};

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
};
use serde_json::Value;

use crate::{
    json::{default_to, items, items_mut, remove, text},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::{first_generation, grow_generation},
    validation::{At, endpoint_ip, immutable, labels, one_of, one_of_if_set, text as check},
};

/// EndpointSlice in `discovery.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    resource: "endpointslices",
    singular: "endpointslice",
    type_name: "io.k8s.api.discovery.v1.EndpointSlice",
    columns: &[
        Column::object_name(),
        Column::text("AddressType", "Kind of its addresses."),
        Column::text("Ports", "Ports, the first three."),
        Column::text("Endpoints", "Addresses, the first three."),
        Column::age(),
    ],
    strategy: &EndpointSlice,
    ..KindDef::NAMESPACED
};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_ZONES: usize = 8;

struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Object) {
        for port in items_mut(object, "ports") {
            default_to(port, "name", "");
            default_to(port, "protocol", "TCP");
        }
    }

    fn prepare_for_create(&self, object: &mut Object) {
        first_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        let content = |o: &Object| {
            let mut content = o.clone();
            remove(&mut content, "metadata");
            content
        };
        let labels = |o: &Object| o["metadata"]["labels"].clone();
        let changed = content(object) != content(old) || labels(object) != labels(old);
        grow_generation(object, old, changed);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let kind = At::field(object, "addressType");
        one_of(&kind, &["FQDN", "IPv4", "IPv6"], &mut errors);
        ports(&At::field(object, "ports"), &mut errors);
        endpoints(&At::field(object, "endpoints"), kind.text(), &mut errors);
        errors
    }

    fn warnings(&self, object: &Object, _old: Option<&Object>) -> Vec<String> {
        let deprecated = object["addressType"] == "FQDN";
        deprecated
            .then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned())
            .into_iter()
            .collect()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        if object["endpoints"] == old["endpoints"] {
            errors.retain(|error| !error.field.starts_with("endpoints"));
        }
        immutable(&At::field(object, "addressType"), &old["addressType"], &mut errors);
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let ports: Vec<String> = items(&object["ports"]).iter().map(port).collect();
        let addresses: Vec<String> = items(&object["endpoints"])
            .iter()
            .flat_map(|endpoint| items(&endpoint["addresses"]))
            .map(|address| text(address).to_owned())
            .collect();
        vec![
            printers::name(object),
            text(&object["addressType"]).into(),
            list(&ports).into(),
            list(&addresses).into(),
            printers::age(object, now),
        ]
    }
}

fn port(port: &Value) -> String {
    match (port["port"].as_i64(), port["name"].as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    }
}

fn list(all: &[String]) -> String {
    printers::or(&printers::first_and_more(all, 3), "<unset>").to_owned()
}

fn ports(at: &At<'_>, errors: &mut ErrorList) {
    if at.len() > MAX_PORTS {
        errors.push(field::too_many(at.path.as_str(), at.len(), MAX_PORTS));
        return;
    }
    let mut seen = HashSet::new();
    for port in at.items() {
        let name = port.key("name");
        if !name.text().is_empty() {
            check(&name, names::dns1123_label, errors);
        }
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        one_of_if_set(&port.key("protocol"), &["SCTP", "TCP", "UDP"], errors);

        if port.key("appProtocol").is_set() {
            check(&port.key("appProtocol"), names::qualified_name, errors);
        }
    }
}

fn endpoints(at: &At<'_>, kind: &str, errors: &mut ErrorList) {
    if at.len() > MAX_ENDPOINTS {
        errors.push(field::too_many(at.path.as_str(), at.len(), MAX_ENDPOINTS));
        return;
    }
    for endpoint in at.items() {
        let addresses = endpoint.key("addresses");
        if addresses.is_empty() {
            errors.push(addresses.required("must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(field::too_many(addresses.path.as_str(), addresses.len(), MAX_ADDRESSES));
        }
        addresses
            .items()
            .for_each(|one| address(&addresses, &one, kind, errors));
        if endpoint.key("nodeName").is_set() {
            check(&endpoint.key("nodeName"), names::dns1123_subdomain, errors);
        }
        labels(&endpoint.key("deprecatedTopology"), errors);
        if endpoint.key("hostname").is_set() {
            check(&endpoint.key("hostname"), names::dns1123_label, errors);
        }
        zones(&endpoint.key("hints").key("forZones"), errors);
    }
}

fn address(all: &At<'_>, at: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let parsed = names::parse_ip_sloppy(at.text());
    match (kind, parsed) {
        ("IPv4", Some(IpAddr::V6(_))) => errors.push(all.invalid_value(at.value, "must be an IPv4 address")),
        ("IPv6", Some(IpAddr::V4(_))) => errors.push(all.invalid_value(at.value, "must be an IPv6 address")),
        _ => {}
    }
    match kind {
        "IPv4" | "IPv6" => endpoint_ip(at, errors),
        "FQDN" => {
            let host = at.text().strip_suffix('.').unwrap_or(at.text());
            let problems = names::dns1123_subdomain(host);
            errors.extend(problems.iter().map(|p| at.invalid(p)));
            if problems.is_empty() && !host.contains('.') {
                errors.push(at.invalid("should be a domain with at least two segments separated by dots"));
            }
        }
        _ => {}
    }
}

fn zones(at: &At<'_>, errors: &mut ErrorList) {
    if at.len() > MAX_ZONES {
        errors.push(field::too_many(at.path.as_str(), at.len(), MAX_ZONES));
        return;
    }
    let mut seen = HashSet::new();
    for name in at.items().map(|zone| zone.key("name")) {
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        check(&name, names::label_value, errors);
    }
}
