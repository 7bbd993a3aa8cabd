//! Lease in `coordination.k8s.io/v1`.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    json::{map_mut, remove, text},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::{At, non_negative},
};

/// Lease in `coordination.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "coordination.k8s.io",
    kind: "Lease",
    resource: "leases",
    singular: "lease",
    type_name: "io.k8s.api.coordination.v1.Lease",
    create_on_update: true,
    requires_resource_version: true,
    columns: &[
        Column::object_name(),
        Column::text("Holder", "Who holds the lease."),
        Column::age(),
    ],
    strategy: &Lease,
    ..KindDef::NAMESPACED
};

struct Lease;

impl Strategy for Lease {
    /// Coordinated leader election is off by default, and its fields with it.
    fn default(&self, object: &mut Object) {
        for name in ["strategy", "preferredHolder"] {
            remove(map_mut(object, "spec"), name);
        }
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let duration = spec.key("leaseDurationSeconds");
        if duration.is_set() && duration.int() <= 0 {
            errors.push(duration.invalid("must be greater than 0"));
        }
        non_negative(&spec.key("leaseTransitions"), &mut errors);

        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            printers::name(object),
            text(&object["spec"]["holderIdentity"]).into(),
            printers::age(object, now),
        ]
    }
}
