//! NetworkPolicy: stored, not enforced.

use apimachinery::{Object, field::ErrorList, names};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{
    json::{default_to, empty, items_mut, map_mut, put},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, label_selector, one_of_if_set, port_number_or_name, required_text, text},
};

/// NetworkPolicy in `networking.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    resource: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
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
                items_mut(rule, "ports").for_each(|port| default_to(port, "protocol", "TCP"));
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

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        label_selector(&spec.key("podSelector"), &mut errors);
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.key(rules).items() {
                rule.key("ports").items().for_each(|one| port(&one, &mut errors));
                rule.key(peers).items().for_each(|one| peer(&one, &mut errors));
            }
        }
        let types = spec.key("policyTypes");
        if types.len() > 2 {
            errors.push(types.invalid("may not specify more than two policyTypes"));
        }
        for kind in types
            .items()
            .filter(|kind| !["Ingress", "Egress"].contains(&kind.text()))
        {
            errors.push(kind.not_supported(&["Ingress", "Egress"]));
        }
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let selector = printers::format_label_selector(&object["spec"]["podSelector"]);
        vec![printers::name(object), selector.into(), printers::age(object, now)]
    }
}

fn port(at: &At<'_>, errors: &mut ErrorList) {
    one_of_if_set(&at.key("protocol"), &["TCP", "UDP", "SCTP"], errors);
    let (port, end) = (at.key("port"), at.key("endPort"));
    if end.is_set() && port.value.is_string() {
        errors.push(end.invalid("may not be specified when `port` is non-numeric"));
    }
    if port.is_set() {
        port_number_or_name(&port, errors);
    }
    if end.is_set() && !port.is_set() {
        errors.push(end.invalid("may not be specified when `port` is not specified"));
    } else if end.is_set() && port.value.is_number() {
        if end.int() < port.int() {
            errors.push(end.invalid_value(port.value, "must be greater than or equal to `port`"));
        }
        let problems = names::port_number(end.int());
        errors.extend(problems.iter().map(|problem| end.invalid(problem)));
    }
}

fn peer(at: &At<'_>, errors: &mut ErrorList) {
    let [pods, namespaces, block] = ["podSelector", "namespaceSelector", "ipBlock"].map(|name| at.key(name));
    label_selector(&pods, errors);
    label_selector(&namespaces, errors);
    if block.is_set() {
        required_text(&block.key("cidr"), names::cidr, errors);
        let network: Option<IpNet> = block.key("cidr").text().parse().ok();
        for except in block.key("except").items() {
            text(&except, names::cidr, errors);
            if let (Some(network), Ok(part)) = (network, except.text().parse::<IpNet>())
                && (!network.contains(&part.network()) || network.prefix_len() >= part.prefix_len())
            {
                errors.push(except.invalid("must be a strict subset of `cidr`"));
            }
        }
        if pods.is_set() || namespaces.is_set() {
            errors.push(at.forbidden("may not specify both ipBlock and another peer"));
        }
    } else if !pods.is_set() && !namespaces.is_set() {
        errors.push(at.required("must specify a peer"));
    }
}
