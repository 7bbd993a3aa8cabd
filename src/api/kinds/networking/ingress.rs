//! Ingress.

mod validate;

use apimachinery::{Object, field::ErrorList, text::go_quote};
use serde_json::Value;

use crate::{
    json::{items, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::At,
};

/// Ingress in `networking.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "Ingress",
    resource: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.networking.v1.Ingress",
    columns: &[
        Column::object_name(),
        Column::text("Class", "Its ingress class."),
        Column::text("Hosts", "Hosts it serves, the first three."),
        Column::text("Address", "Where it is reached."),
        Column::text("Ports", "Ports it is reached at."),
        Column::age(),
    ],
    strategy: &Ingress,
    ..KindDef::NAMESPACED
};

/// How a class was chosen before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) use validate::reference;

struct Ingress;

impl Strategy for Ingress {
    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = validate::spec(&At::field(object, "spec"));
        let annotation = &object["metadata"]["annotations"][CLASS_ANNOTATION];
        let class = &object["spec"]["ingressClassName"];
        if !annotation.is_null() && !class.is_null() && annotation != class {
            let at = At::new(annotation, format!("annotations.{CLASS_ANNOTATION}"));
            errors.push(at.invalid("must match `ingressClassName` when both are specified"));
        }
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        let annotation = &object["metadata"]["annotations"][CLASS_ANNOTATION];
        if annotation.is_null() || old.is_some() {
            return Vec::new();
        }
        vec![format!(
            "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
            go_quote(CLASS_ANNOTATION)
        )]
    }

    fn validate_update(&self, object: &Object, _old: &Object) -> ErrorList {
        validate::spec(&At::field(object, "spec"))
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        validate::status(&At::field(object, "status"))
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            printers::name(object),
            spec["ingressClassName"].as_str().unwrap_or("<none>").into(),
            hosts(items(&spec["rules"])).into(),
            printers::load_balancer_addresses(&object["status"]).into(),
            if items(&spec["tls"]).is_empty() {
                "80"
            } else {
                "80, 443"
            }
            .into(),
            printers::age(object, now),
        ]
    }
}

fn hosts(rules: &[Value]) -> String {
    let mut shown = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == 3;
        if !more && !text(&rule["host"]).is_empty() {
            shown.push(text(&rule["host"]));
        }
    }
    match shown.join(",") {
        none if none.is_empty() => "*".to_owned(),
        list if more => format!("{list} + {} more...", rules.len() - 3),
        list => list,
    }
}
