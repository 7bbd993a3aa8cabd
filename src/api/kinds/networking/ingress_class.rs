//! IngressClass.

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use super::ingress::reference;
use crate::{
    json::{default_to, map_mut, text},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, domain_prefixed_path, immutable, text as check},
};

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// IngressClass in `networking.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "IngressClass",
    resource: "ingressclasses",
    singular: "ingressclass",
    type_name: "io.k8s.api.networking.v1.IngressClass",
    columns: &[
        Column::object_name(),
        Column::text("Controller", "Who serves ingresses of this class."),
        Column::text("Parameters", "Object with further parameters."),
        Column::age(),
    ],
    strategy: &IngressClass,
    ..KindDef::CLUSTER_SCOPED
};

/// Longest name of a controller.
const MAX_CONTROLLER: usize = 250;

struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, object: &mut Object) {
        let parameters = map_mut(object, "spec").get_mut("parameters");
        if let Some(parameters) = parameters.filter(|p| p.is_object()) {
            default_to(parameters, "scope", "Cluster");
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
        let controller = spec.key("controller");
        if controller.text().len() > MAX_CONTROLLER {
            errors.push(controller.too_long(MAX_CONTROLLER));
        }
        domain_prefixed_path(&controller, &mut errors);
        let parameters = spec.key("parameters");
        if parameters.is_set() {
            reference(&parameters, &mut errors);
            scope(&parameters, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let controller = At::field(object, "spec").key("controller");
        immutable(&controller, &old["spec"]["controller"], &mut errors);
        errors.extend(self.validate(object));
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let mut name = text(&object["metadata"]["name"]).to_owned();
        if object["metadata"]["annotations"][DEFAULT_CLASS] == "true" {
            name.push_str(" (default)");
        }
        let spec = &object["spec"];
        let parameters = match &spec["parameters"] {
            Value::Null => "<none>".to_owned(),
            p => match p["apiGroup"].as_str() {
                Some(group) => format!("{}.{group}/{}", text(&p["kind"]), text(&p["name"])),
                None => format!("{}/{}", text(&p["kind"]), text(&p["name"])),
            },
        };
        vec![
            name.into(),
            text(&spec["controller"]).into(),
            parameters.into(),
            printers::age(object, now),
        ]
    }
}

fn scope(parameters: &At<'_>, errors: &mut ErrorList) {
    let (scope, namespace) = (parameters.key("scope"), parameters.key("namespace"));
    match scope.text() {
        "Namespace" if !namespace.is_set() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => check(&namespace, names::dns1123_label, errors),
        "Cluster" if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        "" => errors.push(scope.required("")),
        _ => errors.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}
