//! Lease in `coordination.k8s.io/v1`.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::text,
    kind::{Column, KindDef, Strategy},
    printers,
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
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            printers::name(object),
            text(&object["spec"]["holderIdentity"]).into(),
            printers::age(object, now),
        ]
    }
}
