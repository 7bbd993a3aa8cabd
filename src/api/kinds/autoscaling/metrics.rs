//! Metrics as the annotations of `autoscaling/v1` spell them: flat, with `target…` and `current…` in the names.

use serde_json::{Map, Value, json};

use crate::json::text;

/// Metrics of a spec or of a status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What is wanted.
    Spec,
    /// What there is.
    Status,
}

impl Side {
    fn prefix(self) -> &'static str {
        if self == Self::Spec { "target" } else { "current" }
    }

    fn nested(self) -> &'static str {
        if self == Self::Spec { "target" } else { "current" }
    }
}

fn source_of(kind: &str) -> &'static str {
    match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "External" => "external",
        _ => "",
    }
}

/// Names of the flat value, average value and average utilization; an empty name has none.
fn flat_names(source: &str, side: Side) -> [String; 3] {
    let prefix = side.prefix();
    let average = if source == "object" {
        "averageValue".to_owned()
    } else {
        format!("{prefix}AverageValue")
    };
    let utilization = format!("{prefix}AverageUtilization");
    match source {
        "object" | "external" => [format!("{prefix}Value"), average, String::new()],
        "pods" => [String::new(), average, String::new()],
        _ => [String::new(), average, utilization],
    }
}

const NESTED: [&str; 3] = ["value", "averageValue", "averageUtilization"];

/// From the annotation's form to the one of `autoscaling/v2`.
pub(super) fn from_flat(metric: &Value, side: Side) -> Value {
    let kind = text(&metric["type"]);
    let source = source_of(kind);
    let flat = &metric[source];
    let mut result = Map::new();
    match source {
        "resource" => copy(flat, &mut result, &[("name", "name")]),
        "containerResource" => copy(flat, &mut result, &[("name", "name"), ("container", "container")]),
        "" => return metric.clone(),
        _ => {
            let selector = if source == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            let mut identifier = Map::new();
            copy(flat, &mut identifier, &[("metricName", "name"), (selector, "selector")]);
            result.insert("metric".into(), identifier.into());
            copy(
                flat,
                &mut result,
                if source == "object" {
                    &[("target", "describedObject")]
                } else {
                    &[]
                },
            );
        }
    }
    let mut amounts = Map::new();
    let names = flat_names(source, side);
    for (nested, flat_name) in NESTED.iter().zip(&names).filter(|(_, name)| !name.is_empty()) {
        copy(flat, &mut amounts, &[(flat_name.as_str(), nested)]);
    }
    if side == Side::Spec {
        let given = |name: &str| amounts.contains_key(name);
        let target = match () {
            () if given("averageUtilization") => "Utilization",
            () if given("averageValue")
                && !(given("value") && source == "object" && flat["averageValue"].is_null()) =>
            {
                "AverageValue"
            }
            () => "Value",
        };
        if target == "AverageValue" && source == "object" {
            amounts.remove("value");
        }
        amounts.insert("type".into(), target.into());
    }
    result.insert(side.nested().into(), amounts.into());
    json!({"type": kind, source: result})
}

/// From the form of `autoscaling/v2` to the annotation's.
pub(super) fn to_flat(metric: &Value, side: Side) -> Value {
    let kind = text(&metric["type"]);
    let source = source_of(kind);
    let nested = &metric[source];
    let mut flat = Map::new();
    match source {
        "" => return metric.clone(),
        "resource" => copy(nested, &mut flat, &[("name", "name")]),
        "containerResource" => copy(nested, &mut flat, &[("name", "name"), ("container", "container")]),
        _ => {
            copy(
                nested,
                &mut flat,
                if source == "object" {
                    &[("describedObject", "target")]
                } else {
                    &[]
                },
            );
            let selector = if source == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            copy(
                &nested["metric"],
                &mut flat,
                &[("name", "metricName"), ("selector", selector)],
            );
        }
    }
    let amounts = &nested[side.nested()];
    let names = flat_names(source, side);
    for (nested_name, flat_name) in NESTED.iter().zip(&names).filter(|(_, name)| !name.is_empty()) {
        copy(amounts, &mut flat, &[(nested_name, flat_name)]);
    }
    if source == "object" {
        flat.entry(names[0].clone()).or_insert_with(|| "0".into());
    }
    json!({"type": kind, source: flat})
}

fn copy(from: &Value, to: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (name, new) in names {
        if let Some(value) = from.get(*name).filter(|value| !value.is_null()) {
            to.insert((*new).to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_metric_goes_there_and_back() {
        let metrics = [
            json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "1k", "type": "AverageValue"}}}),
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageUtilization": 50, "type": "Utilization"}}}),
            json!({"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"value": "30", "type": "Value"}}}),
            json!({"type": "Object", "object": {"metric": {"name": "r"}, "describedObject": {"kind": "Ingress", "name": "i"},
                "target": {"value": "2k", "type": "Value"}}}),
        ];
        for metric in metrics {
            assert_eq!(from_flat(&to_flat(&metric, Side::Spec), Side::Spec), metric);
        }
    }

    #[test]
    fn the_annotation_has_flat_names() {
        let status = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "current": {"averageValue": "5"}}});
        let flat = json!({"type": "Pods", "pods": {"metricName": "m", "currentAverageValue": "5"}});
        assert_eq!(to_flat(&status, Side::Status), flat);
        assert_eq!(from_flat(&flat, Side::Status), status);
    }
}
