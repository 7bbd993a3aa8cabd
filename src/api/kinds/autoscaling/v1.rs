//! `autoscaling/v1`: one CPU target instead of metrics. Everything else lives in annotations, so that nothing is lost
//! on the way to v2 and back.

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use super::metrics::{Side, from_flat, to_flat};
use crate::{
    json::{default_to, empty, items, map_mut, put, remove},
    kind::{Conversion, Strategy},
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

pub(super) const CONVERSION: Conversion = Conversion {
    group: "autoscaling",
    version: "v2",
    to_storage,
    from_storage,
    validate: |_| ErrorList::new(),
    deprecation: None,
};

/// Defaulting of the served version; everything else is done on the stored one.
pub(super) struct Defaults;

impl Strategy for Defaults {
    fn default(&self, object: &mut Object) {
        let others = !empty(&object["metadata"]["annotations"][METRICS]);
        let spec = map_mut(object, "spec");
        default_to(spec, "minReplicas", 1);
        if !others {
            default_to(spec, "targetCPUUtilizationPercentage", 80);
        }
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        super::table::row(object, now)
    }
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

fn take_annotation(object: &mut Object, key: &str) -> Option<Value> {
    let annotations = object.get_mut("metadata")?.get_mut("annotations")?;
    let found = remove(annotations, key)?;
    if empty(annotations) {
        remove(map_mut(object, "metadata"), "annotations");
    }
    serde_json::from_str(found.as_str()?).ok()
}

fn annotate(object: &mut Object, key: &str, value: &Value) {
    let annotations = map_mut(map_mut(object, "metadata"), "annotations");
    put(annotations, key, value.to_string().into());
}

fn to_storage(object: &mut Object) {
    object["apiVersion"] = "autoscaling/v2".into();
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(others) = take_annotation(object, METRICS) {
        metrics.extend(items(&others).iter().map(|metric| from_flat(metric, Side::Spec)));
    }
    if let Some(percent) = remove(map_mut(object, "spec"), "targetCPUUtilizationPercentage") {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
        }));
    }
    if let Some(behavior) = take_annotation(object, BEHAVIOR) {
        put(
            map_mut(object, "spec"),
            "behavior",
            capitals(behavior, str::to_ascii_lowercase),
        );
    }
    if !metrics.is_empty() {
        put(map_mut(object, "spec"), "metrics", metrics.into());
    }

    let mut current = Vec::new();
    if let Some(percent) = remove(map_mut(object, "status"), "currentCPUUtilizationPercentage") {
        let usage = json!({"name": "cpu", "current": {"averageUtilization": percent}});
        current.push(json!({"type": "Resource", "resource": usage}));
    }
    if let Some(others) = take_annotation(object, CURRENT_METRICS) {
        let others = items(&others).iter().map(|metric| from_flat(metric, Side::Status));
        current = others
            .filter(|metric| current.is_empty() || !is_cpu(metric))
            .chain(current.clone())
            .collect();
    }
    let conditions = take_annotation(object, CONDITIONS);
    let status = map_mut(object, "status");
    if !current.is_empty() {
        put(status, "currentMetrics", current.into());
    }
    put(status, "conditions", conditions.unwrap_or_default());
    super::V2.strategy.default(object);
}

/// Behaviour stands in its annotation with the field names of Go, which differ in their first letter.
fn capitals(value: Value, change: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| {
                let end = key.chars().next().map_or(0, char::len_utf8);
                (
                    format!("{}{}", change(&key[..end]), &key[end..]),
                    capitals(value, change),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list
            .into_iter()
            .map(|item| capitals(item, change))
            .collect::<Vec<_>>()
            .into(),
        other => other,
    }
}

fn from_storage(object: &mut Object) {
    object["apiVersion"] = "autoscaling/v1".into();
    let mut others = Vec::new();
    for metric in items(&remove(map_mut(object, "spec"), "metrics").unwrap_or_default()) {
        let percent = &metric["resource"]["target"]["averageUtilization"];
        if is_cpu(metric) && !percent.is_null() {
            put(
                map_mut(object, "spec"),
                "targetCPUUtilizationPercentage",
                percent.clone(),
            );
        } else {
            others.push(to_flat(metric, Side::Spec));
        }
    }
    if !others.is_empty() {
        annotate(object, METRICS, &others.into());
    }
    if let Some(behavior) = remove(map_mut(object, "spec"), "behavior") {
        annotate(object, BEHAVIOR, &capitals(behavior, str::to_ascii_uppercase));
    }
    if let Some(current) = remove(map_mut(object, "status"), "currentMetrics") {
        let cpu = items(&current).iter().find(|m| is_cpu(m));
        if let Some(percent) = cpu.map(|m| m["resource"]["current"]["averageUtilization"].clone()) {
            put(map_mut(object, "status"), "currentCPUUtilizationPercentage", percent);
        }
        let flat: Vec<Value> = items(&current)
            .iter()
            .map(|metric| to_flat(metric, Side::Status))
            .collect();
        if !flat.is_empty() {
            annotate(object, CURRENT_METRICS, &flat.into());
        }
    }
    if let Some(conditions) = remove(map_mut(object, "status"), "conditions") {
        annotate(object, CONDITIONS, &conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_target_becomes_a_resource_metric_and_back() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"},
            "spec": {"minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}, "status": {}});
        let mut object = v1.clone();
        to_storage(&mut object);
        assert_eq!(
            object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            70
        );
        assert_eq!(object["apiVersion"], "autoscaling/v2");
        from_storage(&mut object);
        assert_eq!(object, v1);
    }

    #[test]
    fn what_v1_cannot_say_survives_in_annotations() {
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "x"},
            "spec": {"maxReplicas": 5, "metrics": [{"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}}}],
                     "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
            "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale"}]}});
        let mut object = v2.clone();
        from_storage(&mut object);
        assert!(object["spec"].get("metrics").is_none());
        assert!(object["metadata"]["annotations"][METRICS].is_string());
        to_storage(&mut object);
        assert_eq!(object["spec"]["metrics"], v2["spec"]["metrics"]);
        assert_eq!(
            object["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
            60
        );
        assert_eq!(object["status"]["conditions"], v2["status"]["conditions"]);
        assert_eq!(object["metadata"], v2["metadata"]);
    }
}
