//! ReplicaSet.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{default_to, int, map_mut},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, immutable, non_negative, template},
    warnings,
};

/// ReplicaSet in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "ReplicaSet",
    resource: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    type_name: "io.k8s.api.apps.v1.ReplicaSet",
    columns: COLUMNS,
    strategy: &ReplicaSet,
    ..KindDef::NAMESPACED
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::integer("Desired", "Pods wanted."),
    Column::integer("Current", "Pods there are."),
    Column::integer("Ready", "Pods that are ready."),
    Column::age(),
    Column::text("Containers", "Names of the containers.").wide(),
    Column::text("Images", "Images of the containers.").wide(),
    Column::text("Selector", "Selector of its pods.").wide(),
];

/// Counters of the status.
pub(crate) const COUNTERS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];

/// Which counter is a part of which other one, and how messages call that.
pub(crate) const PARTS: &[(&str, &str, &str)] = &[
    ("fullyLabeledReplicas", "replicas", "status.replicas"),
    ("readyReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "readyReplicas"),
];

struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        pod_template(spec);
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
        non_negative(&spec.key("replicas"), &mut errors);
        non_negative(&spec.key("minReadySeconds"), &mut errors);
        template::workload_selector(&spec, "deployment", &mut errors);
        if template::selected_template(&spec, "invalid label selector", &mut errors) {
            template::pod_template(&spec.key("template"), &mut errors);
            template::always_restarts(&spec, "ReplicaSet", &mut errors);
        }
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        let name = if old.is_none() {
            warnings::name_in_pods(object)
        } else {
            None
        };
        let template = At::field(object, "spec").key("template");
        name.into_iter()
            .chain(warnings::pod_template(&template, warnings::spec_changed(object, old)))
            .collect()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        immutable(
            &At::field(object, "spec").key("selector"),
            &old["spec"]["selector"],
            &mut errors,
        );
        errors
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        template::counters(&At::field(object, "status"), COUNTERS, PARTS, &mut errors);
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            int(&spec["replicas"]).into(),
            int(&status["replicas"]).into(),
            int(&status["readyReplicas"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::format_label_selector(&spec["selector"]).into(),
        ]
    }
}
