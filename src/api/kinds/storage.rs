//! StorageClass in `storage.k8s.io/v1`.

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{default_to, flag, text},
    kind::{Column, KindDef, MEMBER, Strategy},
    printers,
    validation::{At, immutable, one_of_if_set},
};

/// StorageClass in `storage.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "StorageClass",
    answers_deleted: true,
    resource: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    profiles: MEMBER,
    type_name: "io.k8s.api.storage.v1.StorageClass",
    columns: &[
        Column::object_name(),
        Column::text("Provisioner", "Who makes volumes of this class."),
        Column::text("ReclaimPolicy", "What happens to a volume when its claim goes."),
        Column::text("VolumeBindingMode", "When volumes are made and bound."),
        Column::text("AllowVolumeExpansion", "Whether volumes may grow."),
        Column::age(),
    ],
    strategy: &StorageClass,
    ..KindDef::CLUSTER_SCOPED
};

const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, object: &mut Object) {
        default_to(object, "reclaimPolicy", "Delete");
        default_to(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let provisioner = At::field(object, "provisioner");
        if provisioner.text().is_empty() {
            errors.push(provisioner.required(""));
        } else {
            let name = provisioner.text().to_lowercase();
            let problems = names::qualified_name(&name);
            errors.extend(
                problems
                    .iter()
                    .map(|p| provisioner.invalid_value(&name.as_str().into(), p)),
            );
        }
        one_of_if_set(&At::field(object, "reclaimPolicy"), &["Delete", "Retain"], &mut errors);
        let mode = At::field(object, "volumeBindingMode");
        one_of_if_set(&mode, &["Immediate", "WaitForFirstConsumer"], &mut errors);
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            immutable(&At::field(object, name), &old[name], &mut errors);
        }
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let mut name = text(&object["metadata"]["name"]).to_owned();
        if DEFAULT_CLASS
            .iter()
            .any(|key| object["metadata"]["annotations"][key] == "true")
        {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            text(&object["provisioner"]).into(),
            printers::or(text(&object["reclaimPolicy"]), "Delete").into(),
            printers::or(text(&object["volumeBindingMode"]), "Immediate").into(),
            flag(&object["allowVolumeExpansion"]).into(),
            printers::age(object, now),
        ]
    }
}
