//! NetworkPolicy: stored, not enforced.

use apimachinery::Object;
use serde_json::{Value, json};

use crate::{
    json::{default_zero, empty, items_mut, map_mut, put},
    kind::{Column, KindDef, MEMBER, Strategy},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        map_mut(spec, "podSelector");
        for rules in ["ingress", "egress"] {
            for rule in items_mut(spec, rules) {
                items_mut(rule, "ports").for_each(|port| default_zero(port, "protocol", "TCP"));
            }
        }
        if empty(&spec["policyTypes"]) {
            let types = if empty(&spec["egress"]) {
                json!(["Ingress"])
            } else {
                json!(["Ingress", "Egress"])
            };
            put(spec, "policyTypes", types);
        }
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let selector = printers::format_label_selector(&object["spec"]["podSelector"]);
        vec![printers::name(object), selector.into(), printers::age(object, now)]
    }
}
