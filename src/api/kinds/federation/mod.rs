//! `federation/v1beta1`: Cluster.

mod validate;

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{int, items, text},
    kind::{Column, KindDef, Profile, Strategy, Subresource},
    printers,
    strategy::{drop_status, keep_status},
    validation::At,
};

/// Cluster in `federation/v1beta1`.
pub const DEF: KindDef = KindDef {
    group: "federation",
    version: "v1beta1",
    kind: "Cluster",
    resource: "clusters",
    singular: "cluster",
    subresources: &[Subresource::Status],
    profiles: &[Profile::Federation],
    type_name: "io.k8s.federation.v1beta1.Cluster",
    columns: &[
        Column::object_name(),
        Column::text("Status", "Ready, NotReady, Offline or Unknown."),
        Column::text("Region", "Region of its nodes."),
        Column::text("Zones", "Zones of its nodes."),
        Column::text("Version", "Version of its API server."),
        Column::age(),
        Column::text("Server", "Address of its API server.").wide(),
        Column::integer("Nodes", "Number of its nodes.").wide(),
    ],
    strategy: &Cluster,
    ..KindDef::CLUSTER_SCOPED
};

struct Cluster;

impl Strategy for Cluster {
    fn prepare_for_create(&self, object: &mut Object) {
        drop_status(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1035_label(name)
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::spec(&At::field(object, "spec"))
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        validate::status(&At::field(object, "status"))
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let first = |a: &Value, b: &Value| printers::or(text(a), text(b)).to_owned();
        let zones = if items(&status["zones"]).is_empty() {
            &spec["zones"]
        } else {
            &status["zones"]
        };
        vec![
            printers::name(object),
            state(object).into(),
            first(&status["region"], &spec["region"]).into(),
            items(zones).iter().map(text).collect::<Vec<_>>().join(",").into(),
            first(&status["version"]["gitVersion"], &status["version"]).into(),
            printers::age(object, now),
            items(&spec["serverAddressByClientCIDRs"])
                .first()
                .map_or("", |s| text(&s["serverAddress"]))
                .into(),
            int(&status["nodes"]).into(),
        ]
    }
}

/// What the conditions of a cluster come to.
fn state(cluster: &Object) -> &'static str {
    let condition = |kind: &str| {
        let found = items(&cluster["status"]["conditions"])
            .iter()
            .find(|c| c["type"] == kind);
        found.map_or("", |c| text(&c["status"]))
    };
    match (condition("Offline"), condition("Ready")) {
        ("True", _) => "Offline",
        (_, "True") => "Ready",
        (_, "False") => "NotReady",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_of_a_cluster_is_what_its_conditions_come_to() {
        let table = [
            (json!([]), "Unknown"),
            (json!([{"type": "Ready", "status": "True"}]), "Ready"),
            (
                json!([{"type": "Ready", "status": "True"}, {"type": "Offline", "status": "False"}]),
                "Ready",
            ),
            (
                json!([{"type": "Ready", "status": "False"}, {"type": "Offline", "status": "False"}]),
                "NotReady",
            ),
            (json!([{"type": "Offline", "status": "True"}]), "Offline"),
            (json!([{"type": "Ready", "status": "Unknown"}]), "Unknown"),
        ];
        for (conditions, expected) in table {
            assert_eq!(state(&json!({"status": {"conditions": conditions}})), expected);
        }
    }

    #[test]
    fn rows_show_what_is_known_and_else_what_was_declared() {
        let cluster = json!({
            "metadata": {"name": "eu", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"region": "europe", "zones": ["a"], "serverAddressByClientCIDRs": [{"serverAddress": "https://eu"}]},
            "status": {"version": "v1.36.2", "nodes": 3, "zones": ["a", "b"], "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let row = DEF.strategy.row(&cluster, "2026-01-01T00:10:00Z".parse().unwrap());
        assert_eq!(
            Value::from(row),
            json!(["eu", "Ready", "europe", "a,b", "v1.36.2", "10m", "https://eu", 3])
        );
    }

    #[test]
    fn names_are_host_names_without_dots() {
        assert!(DEF.strategy.validate_name("us-east1-b").is_empty());
        for bad in ["1us", "us.east", "US", ""] {
            assert!(!DEF.strategy.validate_name(bad).is_empty(), "{bad}");
        }
    }
}
