//! The table row of a HorizontalPodAutoscaler.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{absent, int, items, text},
    printers::{self, scalar},
};

const SHOWN: usize = 2;

pub(super) fn row(object: &Object, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let min = spec["minReplicas"]
        .as_i64()
        .map_or("<unset>".to_owned(), |min| min.to_string());
    vec![
        printers::name(object),
        format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
        metrics(items(&spec["metrics"]), items(&status["currentMetrics"])).into(),
        min.into(),
        int(&spec["maxReplicas"]).into(),
        int(&status["currentReplicas"]).into(),
        printers::age(object, now),
    ]
}

fn metrics(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| metric(spec, statuses.get(index).unwrap_or(&Value::Null)))
        .collect();
    if all.len() > SHOWN {
        format!("{} + {} more...", all[..SHOWN].join(", "), all.len() - SHOWN)
    } else {
        all.join(", ")
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let source = match text(&spec["type"]) {
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = &spec[source]["target"];
    let current = &status[source]["current"];
    let amount = |key: &str| {
        let value = scalar(&current[key]);
        match () {
            () if absent(&status[source]) => "<unknown>".to_owned(),
            () if value.is_empty() => "0".to_owned(),
            () => value,
        }
    };
    match source {
        "external" | "object" if !absent(&target["averageValue"]) => {
            let known = !absent(&current["averageValue"]);
            let now = if known {
                amount("averageValue")
            } else {
                "<unknown>".to_owned()
            };
            format!("{now}/{} (avg)", scalar(&target["averageValue"]))
        }
        "external" | "object" => format!("{}/{}", amount("value"), scalar(&target["value"])),
        "pods" => format!("{}/{}", amount("averageValue"), scalar(&target["averageValue"])),
        _ => {
            let name = text(&spec[source]["name"]);
            if absent(&target["averageValue"]) {
                let percent = |value: &Value, stand_in: &str| {
                    value
                        .as_i64()
                        .map_or(stand_in.to_owned(), |percent| format!("{percent}%"))
                };
                let now = percent(&current["averageUtilization"], "<unknown>");
                format!("{name}: {now}/{}", percent(&target["averageUtilization"], "<auto>"))
            } else {
                format!("{name}: {}/{}", amount("averageValue"), scalar(&target["averageValue"]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets_show_the_first_two_metrics() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "1k"}}});
        let external = json!({"type": "External", "external": {"target": {"averageValue": "30"}}});
        let status = [
            json!({"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}),
            json!({"type": "Pods", "pods": {"current": {"averageValue": "500m"}}}),
        ];
        assert_eq!(metrics(&[], &[]), "<none>");
        assert_eq!(metrics(std::slice::from_ref(&cpu), &[]), "cpu: <unknown>/80%");
        assert_eq!(metrics(&[cpu.clone(), pods.clone()], &status), "cpu: 12%/80%, 500m/1k");
        assert_eq!(
            metrics(&[cpu, pods, external.clone()], &status),
            "cpu: 12%/80%, 500m/1k + 1 more..."
        );
        assert_eq!(metrics(&[external], &[]), "<unknown>/30 (avg)");
        assert_eq!(metrics(&[json!({"type": "New"})], &[]), "<unknown type>");
    }
}
