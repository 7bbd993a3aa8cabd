//! DaemonSet.

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    defaults::pod_spec::pod_template,
    json::{default_to, default_zero, int, map_mut, put, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, keep_all_but_status, update_with_generation},
    validation::{
        At, immutable, int_or_percent, int_or_percent_value, label_selector, non_negative, not_more_than_100_percent,
        template,
    },
    warnings,
};

/// DaemonSet in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "DaemonSet",
    resource: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.apps.v1.DaemonSet",
    columns: &[
        Column::object_name(),
        Column::integer("Desired", "Nodes that should run its pod."),
        Column::integer("Current", "Nodes that should and do run it."),
        Column::integer("Ready", "Nodes whose pod is ready."),
        Column::integer("Up-to-date", "Nodes that run the current template."),
        Column::integer("Available", "Nodes whose pod is ready for long enough."),
        Column::text("Node Selector", "Labels of the nodes it runs on."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of its pods.").wide(),
    ],
    strategy: &DaemonSet,
    ..KindDef::NAMESPACED
};

struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        pod_template(spec);
        let strategy = map_mut(spec, "updateStrategy");
        default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
        default_to(spec, "revisionHistoryLimit", 10);
        default_to(
            map_mut(map_mut(object, "metadata"), "annotations"),
            TEMPLATE_GENERATION,
            "0",
        );
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
        if template_generation(object) < 1 {
            set_template_generation(object, 1);
        }
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
        let changed = object["spec"]["template"] != old["spec"]["template"];
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

    fn prepare_for_status_update(&self, object: &mut Object, old: &Object) {
        keep_all_but_status(object, old);
        set_template_generation(object, template_generation(old));
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let selector = spec.key("selector");
        label_selector(&selector, &mut errors);
        template::selected_labels(&spec, &mut errors);
        if selector.is_set() && selector.key("matchLabels").is_empty() && selector.key("matchExpressions").is_empty() {
            errors.push(selector.invalid("empty selector is invalid for daemonset"));
        }
        template::pod_template(&spec.key("template"), &mut errors);
        template::always_restarts(&spec, "DaemonSet", &mut errors);
        non_negative(&spec.key("minReadySeconds"), &mut errors);
        strategy(&spec.key("updateStrategy"), &mut errors);
        non_negative(&spec.key("revisionHistoryLimit"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        warnings::pod_template(
            &At::field(object, "spec").key("template"),
            old.is_none_or(|old| old["spec"]["template"] != object["spec"]["template"]),
        )
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        immutable(
            &At::field(object, "spec").key("selector"),
            &old["spec"]["selector"],
            &mut errors,
        );
        errors.extend(self.validate(object));
        errors
    }

    fn validate_status_update(&self, object: &Object, old: &Object) -> ErrorList {
        const COUNTERS: &[&str] = &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let mut errors = ErrorList::new();
        let status = At::field(object, "status");
        template::counters(&status, COUNTERS, &[], &mut errors);
        let before = At::field(old, "status").key("collisionCount");
        template::not_decremented(&status.key("collisionCount"), &before, &mut errors);
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            int(&status["desiredNumberScheduled"]).into(),
            int(&status["currentNumberScheduled"]).into(),
            int(&status["numberReady"]).into(),
            int(&status["updatedNumberScheduled"]).into(),
            int(&status["numberAvailable"]).into(),
            printers::format_labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::format_label_selector(&spec["selector"]).into(),
        ]
    }
}

/// A field of the kind's first versions that lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Object) -> i64 {
    text(&object["metadata"]["annotations"][TEMPLATE_GENERATION])
        .parse()
        .unwrap_or_default()
}

fn set_template_generation(object: &mut Object, generation: i64) {
    let annotations = map_mut(map_mut(object, "metadata"), "annotations");
    put(annotations, TEMPLATE_GENERATION, generation.to_string().into());
}

fn strategy(at: &At<'_>, errors: &mut ErrorList) {
    let rolling = at.key("rollingUpdate");
    match at.key("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.key("maxUnavailable"), rolling.key("maxSurge"));
            int_or_percent(&unavailable, errors);
            int_or_percent(&surge, errors);
            not_more_than_100_percent(&unavailable, errors);
            not_more_than_100_percent(&surge, errors);
            match (
                int_or_percent_value(unavailable.value) != 0,
                int_or_percent_value(surge.value) != 0,
            ) {
                (true, true) => errors.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
                (false, false) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        other => {
            let shown = json!({"Type": other, "RollingUpdate": rolling.is_set().then(|| json!({
                "MaxUnavailable": rolling.key("maxUnavailable").value,
                "MaxSurge": rolling.key("maxSurge").value,
            }))});
            errors.push(At::new(&shown, at.path.as_str()).not_supported(&["RollingUpdate", "OnDelete"]));
        }
    }
}
