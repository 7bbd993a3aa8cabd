//! NetworkPolicy: stored, not enforced.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    kind::{Column, KindDef, MEMBER, Strategy},
    printers,
};

/// NetworkPolicy in `networking.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    resource: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    profiles: MEMBER,
    type_name: "io.k8s.api.networking.v1.NetworkPolicy",
    columns: &[
        Column::object_name(),
        Column::text("Pod-Selector", "Pods it applies to."),
        Column::age(),
    ],
    strategy: &NetworkPolicy,
    ..KindDef::NAMESPACED
};

struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let selector = printers::format_label_selector(&object["spec"]["podSelector"]);
        vec![printers::name(object), selector.into(), printers::age(object, now)]
    }
}
