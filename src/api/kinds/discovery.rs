//! EndpointSlice in `discovery.k8s.io/v1`.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{default_to, items, items_mut, remove, text},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::{first_generation, grow_generation},
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
        let changed = content(object) != content(old);
        grow_generation(object, old, changed);
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
