//! PodDisruptionBudget in `policy/v1`.

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, int_or_percent, label_selector, not_more_than_100_percent, one_of_if_set, template},
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
    /// Any name will do.
    fn validate_name(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let (min, max) = (spec.key("minAvailable"), spec.key("maxUnavailable"));
        if min.is_set() && max.is_set() {
            errors.push(spec.invalid_value(&internal(&spec), "minAvailable and maxUnavailable cannot be both set"));
        }
        for amount in [min, max].iter().filter(|amount| amount.is_set()) {
            int_or_percent(amount, &mut errors);
            not_more_than_100_percent(amount, &mut errors);
        }
        label_selector(&spec.key("selector"), &mut errors);
        let policy = spec.key("unhealthyPodEvictionPolicy");
        one_of_if_set(&policy, &["AlwaysAllow", "IfHealthyBudget"], &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        const COUNTERS: &[&str] = &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        let mut errors = ErrorList::new();
        template::counters(&At::field(object, "status"), COUNTERS, &[], &mut errors);
        errors
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

/// The spec as kube-apiserver shows it in errors: with the names of its own types.
fn internal(spec: &At<'_>) -> Value {
    json!({
        "MinAvailable": spec.key("minAvailable").value,
        "Selector": spec.key("selector").value,
        "MaxUnavailable": spec.key("maxUnavailable").value,
        "UnhealthyPodEvictionPolicy": spec.key("unhealthyPodEvictionPolicy").value,
    })
}
