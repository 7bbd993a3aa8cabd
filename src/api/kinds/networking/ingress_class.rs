//! IngressClass.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{default_to, map_mut, text},
    kind::{Column, KindDef, Strategy},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
