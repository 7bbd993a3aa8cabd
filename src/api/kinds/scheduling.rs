//! PriorityClass in `scheduling.k8s.io/v1`.

use apimachinery::{
    Object,
    field::{self, ErrorList},
};
use serde_json::Value;

use crate::{
    json::{default_to, flag, int, text},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::first_generation,
    validation::{At, immutable, one_of},
};

/// PriorityClass in `scheduling.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    resource: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    type_name: "io.k8s.api.scheduling.v1.PriorityClass",
    columns: &[
        Column::object_name(),
        Column::integer("Value", "Priority of pods of this class."),
        Column::boolean("Global-Default", "Whether pods without a class get this one."),
        Column::age(),
        Column::text("PreemptionPolicy", "Whether its pods push others out."),
    ],
    strategy: &PriorityClass,
    ..KindDef::CLUSTER_SCOPED
};

/// Greatest priority users may give.
const MAX_USER_PRIORITY: i64 = 1_000_000_000;

struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Object) {
        default_to(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_for_create(&self, object: &mut Object) {
        first_generation(object);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let name = text(&object["metadata"]["name"]);
        let value = At::field(object, "value");
        if name.starts_with("system-") {
            if !["system-cluster-critical", "system-node-critical"].contains(&name) {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. \
                     error: {name} is not a known system priority class"
                );
                errors.push(field::forbidden("metadata.name", &detail));
            }
        } else if value.int() > MAX_USER_PRIORITY {
            let detail = format!("maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}");
            errors.push(value.forbidden(&detail));
        }
        one_of(
            &At::field(object, "preemptionPolicy"),
            &["PreemptLowerPriority", "Never"],
            &mut errors,
        );
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        if int(&object["value"]) != int(&old["value"]) {
            errors.push(field::forbidden("value", "may not be changed in an update."));
        }
        immutable(
            &At::field(object, "preemptionPolicy"),
            &old["preemptionPolicy"],
            &mut errors,
        );
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            printers::name(object),
            int(&object["value"]).into(),
            flag(&object["globalDefault"]).into(),
            printers::age(object, now),
            text(&object["preemptionPolicy"]).into(),
        ]
    }
}
