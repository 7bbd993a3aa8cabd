//! ControllerRevision: a past state of a DaemonSet or StatefulSet.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    json::{flag, int, items, text},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::{At, immutable, non_negative},
};

/// ControllerRevision in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "ControllerRevision",
    resource: "controllerrevisions",
    singular: "controllerrevision",
    type_name: "io.k8s.api.apps.v1.ControllerRevision",
    columns: &[
        Column::object_name(),
        Column::text("Controller", "The object it is a state of."),
        Column::text("Revision", "Number of the state."),
        Column::age(),
    ],
    strategy: &ControllerRevision,
    ..KindDef::NAMESPACED
};

struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        non_negative(&At::field(object, "revision"), &mut errors);
        let data = At::field(object, "data");
        if !data.is_set() {
            errors.push(data.required("data is mandatory"));
        } else if !data.value.is_object() {
            errors.push(data.required("data must be a valid JSON object"));
        }
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        non_negative(&At::field(object, "revision"), &mut errors);
        immutable(&At::field(object, "data"), &old["data"], &mut errors);
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let revision = int(&object["revision"]);
        vec![
            printers::name(object),
            controller(object).into(),
            revision.into(),
            printers::age(object, now),
        ]
    }
}

fn controller(object: &Object) -> String {
    let Some(owner) = items(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|o| flag(&o["controller"]))
    else {
        return "<none>".to_owned();
    };
    let kind = text(&owner["kind"]).to_lowercase();
    match text(&owner["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(&owner["name"])),
        None => format!("{kind}/{}", text(&owner["name"])),
    }
}
