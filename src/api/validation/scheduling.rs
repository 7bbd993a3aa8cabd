//! Where pods may run: tolerations, taints, affinity, spreading.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names};
use serde_json::json;

use super::{At, POSITIVE, label_selector, labels, one_of_if_set, text};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Errors of tolerations.
pub(crate) fn tolerations(at: &At<'_>, errors: &mut ErrorList) {
    for toleration in at.items() {
        let (key, operator) = (toleration.key("key"), toleration.key("operator"));
        let (value, effect) = (toleration.key("value"), toleration.key("effect"));
        if !key.text().is_empty() {
            text(&key, names::qualified_name, errors);
        } else if operator.text() != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(operator.invalid_value(&operator.text().into(), detail));
        }
        if toleration.key("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(effect.invalid_value(&effect.text().into(), detail));
        }
        match operator.text() {
            "" | "Equal" => {
                let problems = names::label_value(value.text());
                if !problems.is_empty() {
                    errors.push(operator.invalid_value(value.value, &problems.join(";")));
                }
            }
            "Exists" if !value.text().is_empty() => {
                errors.push(operator.invalid_value(value.value, "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.text().is_empty() && !EFFECTS.contains(&effect.text()) {
            errors.push(effect.not_supported(EFFECTS));
        }
    }
}

/// Errors of taints.
pub(crate) fn taints(at: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for taint in at.items() {
        let (key, value, effect) = (taint.key("key"), taint.key("value"), taint.key("effect"));
        text(&key, names::qualified_name, errors);
        let problems = names::label_value(value.text());
        if !problems.is_empty() {
            errors.push(value.invalid(&problems.join(";")));
        }
        super::one_of(&effect, EFFECTS, errors);
        if !seen.insert((key.text(), effect.text())) {
            let shown = json!({
                "Key": key.text(),
                "Value": value.text(),
                "Effect": effect.text(),
                "TimeAdded": taint.key("timeAdded").value,
            });
            let mut error = apimachinery::field::duplicate(taint.path.as_str(), &shown);
            error.message.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        }
    }
}

/// Errors of affinity; absent is fine.
pub(crate) fn affinity(at: &At<'_>, errors: &mut ErrorList) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = at.key("nodeAffinity");
    if node.key(REQUIRED).is_set() {
        node_selector(&node.key(REQUIRED), errors);
    }
    for term in node.key(PREFERRED).items() {
        weight(&term, errors);
        node_selector_term(&term.key("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in at.key(kind).key(REQUIRED).items() {
            pod_term(&term, errors);
        }
        for term in at.key(kind).key(PREFERRED).items() {
            weight(&term, errors);
            pod_term(&term.key("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &At<'_>, errors: &mut ErrorList) {
    if !(1..=100).contains(&term.key("weight").int()) {
        let shown = term.key("weight").int().into();
        errors.push(term.key("weight").invalid_value(&shown, "must be in the range 1-100"));
    }
}

/// Errors of a node selector.
pub(crate) fn node_selector(at: &At<'_>, errors: &mut ErrorList) {
    let terms = at.key("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(terms.required("must have at least one node selector term"));
    }
    terms.items().for_each(|term| node_selector_term(&term, true, errors));
}

fn node_selector_term(at: &At<'_>, check_values: bool, errors: &mut ErrorList) {
    for requirement in at.key("matchExpressions").items() {
        let values = requirement.key("values");
        match requirement.key("operator").text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let operator = requirement.key("operator");
                errors.push(operator.invalid_value(&other.into(), "not a valid selector operator"));
            }
        }
        text(&requirement.key("key"), names::qualified_name, errors);
        if check_values {
            values
                .items()
                .for_each(|value| text(&value, names::label_value, errors));
        }
    }
    for requirement in at.key("matchFields").items() {
        let (key, operator, values) = (
            requirement.key("key"),
            requirement.key("operator"),
            requirement.key("values"),
        );
        if !["In", "NotIn"].contains(&operator.text()) {
            errors.push(operator.invalid_value(&operator.text().into(), "not a valid selector operator"));
        } else if values.len() != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(values.required(detail));
        }
        if key.text() == "metadata.name" {
            values
                .items()
                .for_each(|value| text(&value, names::dns1123_subdomain, errors));
        } else {
            errors.push(key.invalid_value(&key.text().into(), "not a valid field selector key"));
        }
    }
}

fn pod_term(at: &At<'_>, errors: &mut ErrorList) {
    label_selector(&at.key("labelSelector"), errors);
    label_selector(&at.key("namespaceSelector"), errors);
    for namespace in at.key("namespaces").items() {
        let shown = At::new(namespace.value, format!("{}.namespace", at.path));
        text(&shown, names::dns1123_label, errors);
    }
    let key = at.key("topologyKey");
    if key.text().is_empty() {
        errors.push(key.required("can not be empty"));
    }
    label_keys(at, "matchLabelKeys", errors);
    label_keys(at, "mismatchLabelKeys", errors);
    for problem in names::qualified_name(key.text()) {
        errors.push(key.invalid_value(&key.text().into(), &problem));
    }
}

/// Errors of topology spread constraints.
pub(crate) fn topology_spread(at: &At<'_>, errors: &mut ErrorList) {
    let constraints: Vec<At<'_>> = at.items().collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let skew = constraint.key("maxSkew");
        if skew.int() <= 0 {
            errors.push(skew.invalid_value(&skew.int().into(), POSITIVE));
        }
        let (key, action) = (constraint.key("topologyKey"), constraint.key("whenUnsatisfiable"));
        if key.text().is_empty() {
            errors.push(key.required("can not be empty"));
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action.text()) {
            let shown = At {
                value: &action.text().into(),
                path: action.path.clone(),
            };
            errors.push(shown.not_supported(&["DoNotSchedule", "ScheduleAnyway"]));
        }
        let same = |other: &&At<'_>| {
            other.key("topologyKey").text() == key.text() && other.key("whenUnsatisfiable").text() == action.text()
        };
        if constraints[index + 1..].iter().any(|other| same(&other)) {
            let path = constraint.key("{topologyKey, whenUnsatisfiable}").path;
            let shown = format!("{{{}, {}}}", key.text(), action.text());
            errors.push(apimachinery::field::duplicate(path, &shown.into()));
        }
        let domains = constraint.key("minDomains");
        if domains.is_set() && domains.int() <= 0 {
            errors.push(domains.invalid(POSITIVE));
        }
        if domains.is_set() && action.text() != "DoNotSchedule" {
            let detail = format!(
                "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                action.text()
            );
            errors.push(domains.invalid(&detail));
        }
        one_of_if_set(&constraint.key("nodeAffinityPolicy"), &["Honor", "Ignore"], errors);
        one_of_if_set(&constraint.key("nodeTaintsPolicy"), &["Honor", "Ignore"], errors);
        label_keys(constraint, "matchLabelKeys", errors);
        label_selector(&constraint.key("labelSelector"), errors);
    }
}

/// Errors of labels that a selector is completed with.
fn label_keys(at: &At<'_>, name: &str, errors: &mut ErrorList) {
    let keys = at.key(name);
    if keys.is_empty() {
        return;
    }
    if !at.key("labelSelector").is_set() {
        errors.push(keys.forbidden("must not be specified when labelSelector is not set"));
        return;
    }
    keys.items().for_each(|key| text(&key, names::qualified_name, errors));
}

/// Errors of `spec.nodeSelector`.
pub(crate) fn node_labels(at: &At<'_>, errors: &mut ErrorList) {
    labels(at, errors);
}
