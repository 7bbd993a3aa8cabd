//! Endpoints, the older form of EndpointSlices.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{default_zero, int, items, items_mut, text},
    kind::{Column, KindDef, Strategy},
    printers,
};

/// Endpoints in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Endpoints",
    resource: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    type_name: "io.k8s.api.core.v1.Endpoints",
    create_on_update: true,
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
