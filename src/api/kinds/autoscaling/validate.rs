//! Validation of HorizontalPodAutoscalers.

use apimachinery::{field::ErrorList, names};
use serde_json::Value;

use crate::validation::{At, one_of_if_set, required_text, resources, text};

const METRICS: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const MAX_WINDOW_SECONDS: i64 = 3600;
const MAX_PERIOD_SECONDS: i64 = 1800;

/// Whether a reference says which API group its target is in.
pub(super) fn names_group(reference: &Value) -> bool {
    reference["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .is_some_and(|(group, _)| !group.is_empty())
}

/// Errors of the spec; its target must say which API group it is in, unless an old one does not.
pub(super) fn spec(spec: &At<'_>, group_needed: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (min, max) = (spec.key("minReplicas"), spec.key("maxReplicas"));
    if min.is_set() && min.int() < 1 {
        errors.push(min.invalid("must be greater than or equal to 1"));
    }
    if max.int() == 0 {
        errors.push(max.required("must be set and greater than 0"));
    } else if max.int() < 0 {
        errors.push(max.invalid("must be greater than or equal to 1"));
    }
    if min.is_set() && max.int() < min.int() {
        let shown = max.int().into();
        errors.push(max.invalid_value(&shown, "must be greater than or equal to `minReplicas`"));
    }
    let target = spec.key("scaleTargetRef");
    target_reference(&target, &mut errors);
    if group_needed && !names_group(target.value) {
        let version = target.key("apiVersion");
        errors.push(version.invalid_value(&version.text().into(), "apiVersion must specify API group"));
    }
    let metrics = spec.key("metrics");
    metrics.items().for_each(|metric| self::metric(&metric, &mut errors));
    let from_outside = metrics
        .items()
        .any(|metric| ["Object", "External"].contains(&metric.key("type").text()));
    if min.is_set() && min.int() == 0 && !from_outside {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(metrics.forbidden(detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.key("behavior").key(direction);
        if rules.is_set() {
            scaling_rules(&rules, &mut errors);
        }
    }
    errors
}

fn target_reference(at: &At<'_>, errors: &mut ErrorList) {
    required_text(&at.key("kind"), names::path_segment_name, errors);
    required_text(&at.key("name"), names::path_segment_name, errors);
    let version = at.key("apiVersion");
    if version.text().matches('/').count() > 1 {
        errors.push(version.invalid(&format!("unexpected GroupVersion string: {}", version.text())));
    }
}

fn metric(at: &At<'_>, errors: &mut ErrorList) {
    let kind = at.key("type");
    let shown = At {
        value: &kind.text().into(),
        path: kind.path.clone(),
    };
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    if !METRICS.contains(&kind.text()) {
        errors.push(shown.not_supported(METRICS));
    }
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|name| at.key(name).is_set())
        .collect();
    if let Some(first) = present.first() {
        source(first, &at.key(first), errors);
    }
    let expected = match kind.text() {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => {
            errors.push(shown.not_supported(METRICS));
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        errors.push(
            at.key(expected)
                .required("must populate information for the given metric source"),
        );
    }
    if present.len() != 1 {
        for other in present.iter().filter(|name| **name != expected) {
            errors.push(at.key(other).forbidden("must populate the given metric source only"));
        }
    }
}

fn source(kind: &str, at: &At<'_>, errors: &mut ErrorList) {
    let target = at.key("target");
    let has = |name: &str| target.key(name).is_set();
    match kind {
        "object" => {
            target_reference(&at.key("describedObject"), errors);
            identifier(&at.key("metric"), errors);
            self::target(&target, errors);
            if !has("value") && !has("averageValue") {
                errors.push(
                    target
                        .key("averageValue")
                        .required("must set either a target value or averageValue"),
                );
            }
        }
        "external" => {
            identifier(&at.key("metric"), errors);
            self::target(&target, errors);
            if !has("value") && !has("averageValue") {
                let detail = "must set either a target value for metric or a per-pod target";
                errors.push(target.key("averageValue").required(detail));
            }
            if has("value") && has("averageValue") {
                let detail = "may not set both a target value for metric and a per-pod target";
                errors.push(target.key("value").forbidden(detail));
            }
        }
        "pods" => {
            identifier(&at.key("metric"), errors);
            self::target(&target, errors);
            if !has("averageValue") {
                errors.push(
                    target
                        .key("averageValue")
                        .required("must specify a positive target averageValue"),
                );
            }
        }
        _ => resource(kind, at, &target, errors),
    }
}

fn resource(kind: &str, at: &At<'_>, target: &At<'_>, errors: &mut ErrorList) {
    if at.key("name").text().is_empty() {
        errors.push(at.key("name").required("must specify a resource name"));
    } else if kind == "containerResource" {
        resources::container_name(&at.key("name"), at.key("name").text(), errors);
    }
    if kind == "containerResource" {
        let container = at.key("container");
        if container.text().is_empty() {
            errors.push(container.required("must specify a container"));
        } else {
            text(&container, names::dns1123_label, errors);
        }
    }
    self::target(target, errors);
    let (raw, utilization) = (target.key("averageValue"), target.key("averageUtilization"));
    if !raw.is_set() && !utilization.is_set() {
        errors.push(utilization.required("must set either a target raw value or a target utilization"));
    }
    if raw.is_set() && utilization.is_set() {
        errors.push(raw.forbidden("may not set both a target raw value and a target utilization"));
    }
}

fn identifier(at: &At<'_>, errors: &mut ErrorList) {
    let name = at.key("name");
    if name.text().is_empty() {
        errors.push(name.required("must specify a metric name"));
    } else {
        text(&name, names::path_segment_name, errors);
    }
}

fn target(at: &At<'_>, errors: &mut ErrorList) {
    let kind = at.key("type");
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.text()) {
        let shown = kind.text().into();
        errors.push(kind.invalid_value(&shown, "must be either Utilization, Value, or AverageValue"));
    }
    for name in ["value", "averageValue"] {
        let value = at.key(name);
        if resources::quantity(value.value).is_some_and(|quantity| quantity.sign() != 1) {
            errors.push(value.invalid("must be positive"));
        }
    }
    let utilization = at.key("averageUtilization");
    if utilization.is_set() && utilization.int() < 1 {
        errors.push(utilization.invalid("must be greater than 0"));
    }
}

fn scaling_rules(at: &At<'_>, errors: &mut ErrorList) {
    let window = at.key("stabilizationWindowSeconds");
    if window.int() < 0 {
        errors.push(window.invalid("must be greater than or equal to zero"));
    }
    if window.int() > MAX_WINDOW_SECONDS {
        errors.push(window.invalid(&format!("must be less than or equal to {MAX_WINDOW_SECONDS}")));
    }
    one_of_if_set(&at.key("selectPolicy"), &["Disabled", "Max", "Min"], errors);
    let policies = at.key("policies");
    if policies.is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        let (kind, value, period) = (policy.key("type"), policy.key("value"), policy.key("periodSeconds"));
        if !["Percent", "Pods"].contains(&kind.text()) {
            let shown = At {
                value: &kind.text().into(),
                path: kind.path.clone(),
            };
            errors.push(shown.not_supported(&["Percent", "Pods"]));
        }
        for number in [&value, &period] {
            if number.int() <= 0 {
                errors.push(number.invalid_value(&number.int().into(), "must be greater than zero"));
            }
        }
        if period.int() > MAX_PERIOD_SECONDS {
            errors.push(period.invalid(&format!("must be less than or equal to {MAX_PERIOD_SECONDS}")));
        }
    }
}
