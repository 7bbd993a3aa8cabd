//! HorizontalPodAutoscaler in `autoscaling/v2` and, converted, `autoscaling/v1`.

mod metrics;
mod table;
mod v1;
mod validate;

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    json::{default_to, empty, map_mut, put},
    kind::{Column, KindDef, Strategy, Subresource},
    strategy::{drop_status, keep_status},
    validation::{At, template},
};

/// HorizontalPodAutoscaler in `autoscaling/v2`, the version it is stored in.
pub const V2: KindDef = KindDef {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    resource: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    columns: &[
        Column::object_name(),
        Column::text("Reference", "What it scales."),
        Column::text("Targets", "Metrics as they are and as they should be."),
        Column::text("MinPods", "Least number of pods."),
        Column::text("MaxPods", "Greatest number of pods."),
        Column::text("Replicas", "Pods there are."),
        Column::age(),
    ],
    strategy: &HorizontalPodAutoscaler,
    ..KindDef::NAMESPACED
};

/// HorizontalPodAutoscaler in `autoscaling/v1`, converted.
pub const V1: KindDef = KindDef {
    version: "v1",
    type_name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    conversion: Some(&v1::CONVERSION),
    strategy: &v1::Defaults,
    ..V2
};

struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "minReplicas", 1);
        if empty(&spec["metrics"]) {
            put(spec, "metrics", default_metrics());
        }
        if let Some(behavior) = spec.get_mut("behavior").filter(|b| b.is_object()) {
            scaling_rules(
                map_mut(behavior, "scaleUp"),
                Some(0),
                json!([
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ]),
            );
            scaling_rules(
                map_mut(behavior, "scaleDown"),
                None,
                json!([
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ]),
            );
        }
    }

    fn prepare_for_create(&self, object: &mut Object) {
        drop_status(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::spec(&At::field(object, "spec"), true)
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let named_before = validate::names_group(&old["spec"]["scaleTargetRef"]);
        validate::spec(&At::field(object, "spec"), named_before)
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        template::counters(
            &At::field(object, "status"),
            &["currentReplicas", "desiredReplicas"],
            &[],
            &mut errors,
        );
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        table::row(object, now)
    }
}

fn default_metrics() -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}])
}

fn scaling_rules(rules: &mut Value, window: Option<i64>, policies: Value) {
    if let Some(seconds) = window {
        default_to(rules, "stabilizationWindowSeconds", seconds);
    }
    default_to(rules, "selectPolicy", "Max");
    default_to(rules, "policies", policies);
}
