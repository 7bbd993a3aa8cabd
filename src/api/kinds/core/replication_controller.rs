//! ReplicationController, the forerunner of ReplicaSet.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, empty, int, map_mut, put},
    kind::{KindDef, MEMBER, Strategy, Subresource},
    kinds::apps::replica_set::{COUNTERS, PARTS},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, non_negative, template},
    warnings,
};

/// ReplicationController in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "ReplicationController",
    resource: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.ReplicationController",
    orphans_by_default: true,
    selectable_fields: &["status.replicas"],
    columns: crate::kinds::apps::replica_set::COLUMNS,
    strategy: &ReplicationController,
    ..KindDef::NAMESPACED
};

struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        if absent(&spec["template"]) {
            return;
        }
        pod_template(spec);
        let labels = spec["template"]["metadata"]["labels"].clone();
        if empty(&spec["selector"]) {
            put(spec, "selector", labels.clone());
        }
        if empty(&object["metadata"]["labels"]) {
            put(map_mut(object, "metadata"), "labels", labels);
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
        non_negative(&spec.key("minReadySeconds"), &mut errors);
        let selector = spec.key("selector");
        if selector.is_empty() {
            errors.push(selector.required(""));
        }
        non_negative(&spec.key("replicas"), &mut errors);
        let template = spec.key("template");
        if !template.is_set() {
            errors.push(template.required(""));
            return errors;
        }
        let labels = template.key("metadata").key("labels");
        if selector.entries().any(|(key, value)| labels.value[key] != *value.value) {
            errors.push(labels.invalid("`selector` does not match template `labels`"));
        }
        template::pod_template(&template, &mut errors);
        template::always_restarts(&spec, "ReplicationController", &mut errors);
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

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        template::counters(&At::field(object, "status"), COUNTERS, PARTS, &mut errors);
        errors
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![int(&object["status"]["replicas"]).to_string()]
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
            printers::format_labels(&spec["selector"]).into(),
        ]
    }
}
