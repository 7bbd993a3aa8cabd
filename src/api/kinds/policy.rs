//! PodDisruptionBudget in `policy/v1`.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
};

/// PodDisruptionBudget in `policy/v1`.
pub const DEF: KindDef = KindDef {
    group: "policy",
    kind: "PodDisruptionBudget",
    resource: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.policy.v1.PodDisruptionBudget",
    requires_resource_version: true,
    columns: &[
        Column::object_name(),
        Column::text("Min Available", "Pods that must stay available."),
        Column::text("Max Unavailable", "Pods that may be unavailable."),
        Column::integer("Allowed Disruptions", "Pods that may be evicted now."),
        Column::age(),
    ],
    strategy: &PodDisruptionBudget,
    ..KindDef::NAMESPACED
};

struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let amount = |key: &str| {
            let value = printers::scalar(&object["spec"][key]);
            printers::or(&value, "N/A").to_owned()
        };
        vec![
            printers::name(object),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            int(&object["status"]["disruptionsAllowed"]).into(),
            printers::age(object, now),
        ]
    }
}
