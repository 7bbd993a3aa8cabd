//! Service.

mod families;
mod update;
mod validate;

use apimachinery::{Object, field::ErrorList, names};
use serde_json::{Value, json};

use crate::{
    json::{absent, default_to, default_zero, int, items, items_mut, map_mut, put, remove, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::keep_status,
};

/// Service in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Service",
    answers_deleted: true,
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
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_zero(spec, "type", "ClusterIP");
        let kind = text(&spec["type"]).to_owned();
        session_affinity(spec);
        for port in items_mut(spec, "ports") {
            default_zero(port, "protocol", "TCP");
            let number = port["port"].clone();
            default_zero(port, "targetPort", number);
        }
        let balanced = kind == "LoadBalancer";
        if externally_accessible(spec) {
            default_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
            default_to(spec, "internalTrafficPolicy", "Cluster");
        }
        if balanced {
            default_to(spec, "allocateLoadBalancerNodePorts", true);
            if let Some(status) = map_mut(object, "status").get_mut("loadBalancer") {
                let with_ip = items_mut(status, "ingress").filter(|i| !text(&i["ip"]).is_empty());
                with_ip.for_each(|ingress| default_to(ingress, "ipMode", "VIP"));
            }
        }
    }

    /// The server allocates addresses and node ports between this and validation, see [`needs_cluster_ip`].
    fn prepare_for_create(&self, object: &mut Object) {
        put(object, "status", json!({"loadBalancer": {}}));
        let spec = map_mut(object, "spec");
        update::plural_from_singular(spec);
        families::infer(spec, None);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::validate(object)
    }

    fn warnings(&self, object: &Object, _old: Option<&Object>) -> Vec<String> {
        validate::warnings(object)
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
        update::carry_over(object, old);
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = validate::validate_change(object, old);
        errors.extend(validate::validate(object));
        errors
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        validate::validate_status(object)
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

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

/// Seconds a client sticks to an endpoint by default: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

fn session_affinity(spec: &mut Value) {
    default_zero(spec, "sessionAffinity", "None");
    match text(&spec["sessionAffinity"]) {
        "None" => {
            remove(spec, "sessionAffinityConfig");
        }
        "ClientIP" if absent(&spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]) => {
            put(
                spec,
                "sessionAffinityConfig",
                json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}),
            );
        }
        _ => {}
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

pub(crate) use validate::load_balancer_hostname;

fn kind(spec: &Value) -> &str {
    text(&spec["type"])
}

/// Whether a Service spec has an address of its own, which the server allocates if the client names none.
#[must_use]
pub fn needs_cluster_ip(spec: &Value) -> bool {
    kind(spec) != "ExternalName"
}

/// Whether a Service spec has a port on every node, which the server allocates if the client names none.
#[must_use]
pub fn needs_node_port(spec: &Value) -> bool {
    match kind(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether a Service spec has a port for health checks of nodes, which the server allocates if the client names none.
#[must_use]
pub fn needs_health_check(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// Whether a Service spec says that there is no address, only names.
#[must_use]
pub fn headless(spec: &Value) -> bool {
    matches!(items(&spec["clusterIPs"]), [one] if one == "None")
}

/// Whether traffic can come from outside of the cluster.
fn externally_accessible(spec: &Value) -> bool {
    let external_ips = kind(spec) == "ClusterIP" && !items(&spec["externalIPs"]).is_empty();
    external_ips || matches!(kind(spec), "NodePort" | "LoadBalancer")
}
