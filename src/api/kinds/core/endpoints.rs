//! Endpoints, the older form of EndpointSlices.

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{default_zero, int, items, items_mut, text},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::{At, container::port_number, endpoint_ip, one_of, text as check},
};

/// Endpoints in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Endpoints",
    resource: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    type_name: "io.k8s.api.core.v1.Endpoints",
    create_on_update: true,
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    columns: &[
        Column::object_name(),
        Column::text("Endpoints", "Addresses with ports, the first three."),
        Column::age(),
    ],
    strategy: &Endpoints,
    ..KindDef::NAMESPACED
};

struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Object) {
        for subset in items_mut(object, "subsets") {
            items_mut(subset, "ports").for_each(|port| default_zero(port, "protocol", "TCP"));
        }
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        for subset in At::field(object, "subsets").items() {
            let all = ["addresses", "notReadyAddresses"].map(|key| subset.key(key));
            if all.iter().all(|list| list.is_empty()) {
                errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
            }
            for address in all.iter().flat_map(At::items) {
                self::address(&address, &mut errors);
            }
            let ports = subset.key("ports");
            for port in ports.items() {
                self::port(&port, ports.len() > 1, &mut errors);
            }
        }
        errors
    }

    fn warnings(&self, _object: &Object, _old: Option<&Object>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        if object["subsets"] == old["subsets"] {
            ErrorList::new()
        } else {
            self.validate(object)
        }
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let addresses = match items(&object["subsets"]) {
            [] => "<none>".to_owned(),
            subsets => printers::first_and_more(&subsets.iter().flat_map(addresses_of).collect::<Vec<_>>(), 3),
        };
        vec![printers::name(object), addresses.into(), printers::age(object, now)]
    }
}

fn addresses_of(subset: &Value) -> Vec<String> {
    let ips = || items(&subset["addresses"]).iter().map(|a| text(&a["ip"]));
    match items(&subset["ports"]) {
        [] => ips().map(str::to_owned).collect(),
        ports => ports
            .iter()
            .flat_map(|p| ips().map(|ip| join_host_port(ip, int(&p["port"]))))
            .collect(),
    }
}

fn join_host_port(host: &str, port: i64) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn address(at: &At<'_>, errors: &mut ErrorList) {
    let ip = at.key("ip");
    endpoint_ip(&ip, errors);
    if names::parse_ip_sloppy(ip.text()).is_none() {
        errors.push(ip.invalid("must be a valid IP address"));
    }
    if !at.key("hostname").text().is_empty() {
        check(&at.key("hostname"), names::dns1123_label, errors);
    }
    if at.key("nodeName").is_set() {
        check(&at.key("nodeName"), names::dns1123_subdomain, errors);
    }
}

fn port(at: &At<'_>, named: bool, errors: &mut ErrorList) {
    let name = at.key("name");
    if !name.text().is_empty() {
        check(&name, names::dns1123_label, errors);
    } else if named {
        errors.push(name.required(""));
    }
    port_number(
        &At {
            value: &at.key("port").int().into(),
            path: at.key("port").path,
        },
        errors,
    );
    one_of(&at.key("protocol"), &["SCTP", "TCP", "UDP"], errors);
    if at.key("appProtocol").is_set() {
        check(&at.key("appProtocol"), names::qualified_name, errors);
    }
}
