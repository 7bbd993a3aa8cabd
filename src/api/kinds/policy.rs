//! PodDisruptionBudget in `policy/v1`.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

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
