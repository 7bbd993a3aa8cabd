//! Service.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{int, items, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
};

/// Service in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Service",
    resource: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::Other("proxy"), Subresource::Status],
    type_name: "io.k8s.api.core.v1.Service",
    create_on_update: true,
    selectable_fields: &["spec.clusterIP", "spec.type"],
    columns: &[
        Column::object_name(),
        Column::text("Type", "How the service is reached."),
        Column::text("Cluster-IP", "Address inside the cluster."),
        Column::text("External-IP", "Addresses outside the cluster."),
        Column::text("Port(s)", "Ports, with node ports where there are."),
        Column::age(),
        Column::text("Selector", "Labels of the pods behind it.").wide(),
    ],
    strategy: &Service,
    ..KindDef::NAMESPACED
};

struct Service;

impl Strategy for Service {
    fn selectable_values(&self, object: &Object) -> Vec<String> {
        ["clusterIP", "type"]
            .map(|key| text(&object["spec"][key]).to_owned())
            .to_vec()
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            printers::name(object),
            text(&spec["type"]).into(),
            items(&spec["clusterIPs"]).first().map_or("<none>", text).into(),
            external_ip(object).into(),
            ports(spec).into(),
            printers::age(object, now),
            printers::format_labels(&spec["selector"]).into(),
        ]
    }
}

fn external_ip(service: &Object) -> String {
    let spec = &service["spec"];
    let external = items(&spec["externalIPs"])
        .iter()
        .map(text)
        .collect::<Vec<_>>()
        .join(",");
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" => printers::or(&external, "<none>").to_owned(),
        "LoadBalancer" => {
            let balanced = printers::load_balancer_addresses(&service["status"]);
            let all = [balanced, external]
                .into_iter()
                .filter(|a| !a.is_empty())
                .collect::<Vec<_>>()
                .join(",");
            printers::or(&all, "<pending>").to_owned()
        }
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &Value) -> String {
    let one = |port: &Value| {
        let (number, protocol) = (int(&port["port"]), text(&port["protocol"]));
        match int(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    let all = items(&spec["ports"]).iter().map(one).collect::<Vec<_>>().join(",");
    printers::or(&all, "<none>").to_owned()
}
