//! Deployment.

use apimachinery::{Object, field::ErrorList, meta::string_entries};
use serde_json::{Value, json};

use crate::{
    defaults::pod_spec::pod_template,
    json::{default_to, default_zero, int, map_mut, put},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, grow_generation, keep_all_but_status, keep_status},
    validation::{
        At, immutable, int_or_percent, int_or_percent_value, non_negative, not_more_than_100_percent, template,
    },
    warnings, well_known,
};

/// Deployment in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "Deployment",
    resource: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    type_name: "io.k8s.api.apps.v1.Deployment",
    columns: &[
        Column::object_name(),
        Column::text("Ready", "Ready pods and wanted pods."),
        Column::text("Up-to-date", "Pods of the current template."),
        Column::text("Available", "Pods that are ready for long enough."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of its pods.").wide(),
    ],
    strategy: &Deployment,
    ..KindDef::NAMESPACED
};

struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        pod_template(spec);
        let strategy = map_mut(spec, "strategy");
        default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
        default_to(spec, "revisionHistoryLimit", 10);
        default_to(spec, "progressDeadlineSeconds", 600);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
        // Annotations count, but for the one in which the federation reports.
        let annotations = |o: &Object| {
            let mut all: Vec<_> = string_entries(o["metadata"].get("annotations"))
                .filter(|(key, _)| *key != well_known::CLUSTER_STATUS)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            all.sort_unstable();
            all
        };
        let changed = object["spec"] != old["spec"] || annotations(object) != annotations(old);
        grow_generation(object, old, changed);
    }

    fn prepare_for_status_update(&self, object: &mut Object, old: &Object) {
        keep_all_but_status(object, old);
        put(map_mut(object, "metadata"), "labels", old["metadata"]["labels"].clone());
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        non_negative(&spec.key("replicas"), &mut errors);
        template::workload_selector(&spec, "deployment", &mut errors);
        if template::selected_template(&spec, "invalid label selector", &mut errors) {
            template::pod_template(&spec.key("template"), &mut errors);
            template::always_restarts(&spec, "ReplicaSet", &mut errors);
        }
        strategy(&spec.key("strategy"), &mut errors);
        for name in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
            non_negative(&spec.key(name), &mut errors);
        }
        let deadline = spec.key("progressDeadlineSeconds");
        if deadline.is_set() && deadline.int() <= spec.key("minReadySeconds").int() {
            errors.push(deadline.invalid("must be greater than minReadySeconds"));
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

    fn validate_status_update(&self, object: &Object, old: &Object) -> ErrorList {
        const COUNTERS: &[&str] = &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        const PARTS: &[(&str, &str, &str)] = &[
            ("updatedReplicas", "replicas", "status.replicas"),
            ("readyReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "readyReplicas", "readyReplicas"),
        ];
        let mut errors = ErrorList::new();
        let status = At::field(object, "status");
        template::counters(&status, COUNTERS, PARTS, &mut errors);
        let before = At::field(old, "status").key("collisionCount");
        template::not_decremented(&status.key("collisionCount"), &before, &mut errors);
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
            int(&status["updatedReplicas"]).into(),
            int(&status["availableReplicas"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::selector_string(&spec["selector"]).into(),
        ]
    }
}

fn strategy(at: &At<'_>, errors: &mut ErrorList) {
    let rolling = at.key("rollingUpdate");
    match at.key("type").text() {
        "Recreate" if rolling.is_set() => {
            errors.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.key("maxUnavailable"), rolling.key("maxSurge"));
            int_or_percent(&unavailable, errors);
            int_or_percent(&surge, errors);
            if int_or_percent_value(unavailable.value) == 0 && int_or_percent_value(surge.value) == 0 {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            not_more_than_100_percent(&unavailable, errors);
        }
        other => {
            let shown = json!({"Type": other, "RollingUpdate": rolling.is_set().then(|| json!({
                "MaxUnavailable": rolling.key("maxUnavailable").value,
                "MaxSurge": rolling.key("maxSurge").value,
            }))});
            errors.push(At::new(&shown, at.path.as_str()).not_supported(&["Recreate", "RollingUpdate"]));
        }
    }
}
