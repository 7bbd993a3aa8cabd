//! HorizontalPodAutoscaler in `autoscaling/v2` and, converted, `autoscaling/v1`.

mod table;
mod v1;

use apimachinery::Object;
use serde_json::Value;

use crate::kind::{Column, KindDef, Strategy, Subresource};

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
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        table::row(object, now)
    }
}
