//! What the federation API refuses beyond what Kubernetes does: annotations that cannot be meant.

use std::error::Error as StdError;

use apimachinery::{
    Object,
    field::{self, ErrorList, FieldError},
};

use crate::{cluster_selector::ClusterSelector, overrides::Overrides, preferences, well_known};

fn at(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

/// An error with everything that caused it, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn unreadable(annotation: &str, object: &Object, error: &dyn StdError) -> FieldError {
    field::invalid(
        at(annotation),
        &object["metadata"]["annotations"][annotation],
        &chain(error),
    )
}

/// Errors of the federation's own annotations on a new or changed object: preferences, cluster selector, overrides,
/// adoption.
#[must_use]
pub fn validate_federated(object: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    if object["metadata"]["annotations"].is_null() {
        return errors;
    }
    preferences(object, &mut errors);
    if let Err(error) = ClusterSelector::of(object) {
        errors.push(unreadable(well_known::CLUSTER_SELECTOR, object, &error));
    }
    match Overrides::of(object).and_then(|overrides| overrides.try_each(object)) {
        Ok(()) => {}
        Err(error) => errors.push(unreadable(well_known::OVERRIDES, object, &error)),
    }
    for name in [well_known::ADOPT, well_known::ROLLOUT_ON_CONFIG_CHANGE] {
        let value = &object["metadata"]["annotations"][name];
        if !value.is_null() && value != "true" && value != "false" {
            errors.push(field::not_supported(at(name), value, &["false", "true"]));
        }
    }
    errors
}

fn preferences(object: &Object, errors: &mut ErrorList) {
    let Some((annotation, text)) = preferences::annotation_of(object) else {
        return;
    };
    match preferences::Preferences::parse(text) {
        Err(error) => errors.push(unreadable(annotation, object, &error)),
        Ok(preferences) => {
            for problem in preferences.problems() {
                let detail = format!("{} {}", problem.field, problem.detail);
                errors.push(field::invalid(at(annotation), &problem.value, &detail));
            }
        }
    }
}

/// Warnings about the federation's own annotations: keys that are ignored, preferences for another kind.
#[must_use]
pub fn federated_warnings(object: &Object) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some((annotation, text)) = preferences::annotation_of(object)
        && let Ok(parsed) = preferences::parse_with_unknown_keys(text)
    {
        warnings.extend(
            parsed
                .unknown_keys
                .iter()
                .map(|key| format!("{}: unknown field {key:?}", at(annotation))),
        );
    }
    let kind = object["kind"].as_str().unwrap_or_default();
    let own = preferences::annotation_for(kind);
    for other in preferences::ANNOTATIONS.iter().filter(|name| Some(**name) != own) {
        if !object["metadata"]["annotations"][*other].is_null() {
            warnings.push(format!("{}: has no effect on a {kind}", at(other)));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn replica_set(annotations: Value) -> Object {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "x", "annotations": annotations},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    fn shown(annotations: Value) -> Vec<String> {
        validate_federated(&replica_set(annotations))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn good_annotations_pass() {
        let annotations = json!({
            "federation.kubernetes.io/replica-set-preferences": r#"{"clusters": {"*": {"weight": 1}}}"#,
            "federation.alpha.kubernetes.io/cluster-selector": r#"[{"key": "region", "operator": "in", "values": ["eu"]}]"#,
            "federation.kubernetes.io/overrides": r#"[{"clusters": ["a"], "patch": [{"op": "replace", "path": "/spec/replicas", "value": 5}]}]"#,
            "federation.kubernetes.io/adopt": "true",
        });
        assert_eq!(shown(annotations), Vec::<String>::new());
        assert_eq!(validate_federated(&json!({"kind": "ReplicaSet", "metadata": {}})), []);
    }

    #[test]
    fn bad_annotations_are_refused_with_the_place_and_the_reason() {
        let cases = [
            (
                "federation.kubernetes.io/replica-set-preferences",
                r#"{"clusters": {"eu": {"minReplicas": -1}}}"#,
                "metadata.annotations[federation.kubernetes.io/replica-set-preferences]: Invalid value: -1: \
                 clusters[eu].minReplicas must be greater than or equal to 0",
            ),
            (
                "federation.kubernetes.io/replica-set-preferences",
                r#"{"rebalance": 1}"#,
                "metadata.annotations[federation.kubernetes.io/replica-set-preferences]: Invalid value: \
                 \"{\\\"rebalance\\\": 1}\": rebalance: must be true or false, not 1",
            ),
            (
                "federation.kubernetes.io/replica-set-preferences",
                "{",
                "metadata.annotations[federation.kubernetes.io/replica-set-preferences]: Invalid value: \"{\": \
                 not valid JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                "federation.alpha.kubernetes.io/cluster-selector",
                r#"[{"key": "a", "operator": "like"}]"#,
                "metadata.annotations[federation.alpha.kubernetes.io/cluster-selector]: Invalid value: \
                 \"[{\\\"key\\\": \\\"a\\\", \\\"operator\\\": \\\"like\\\"}]\": [0].operator: \"like\" is not a valid operator",
            ),
            (
                "federation.kubernetes.io/overrides",
                r#"[{"patch": [{"op": "replace", "path": "/spec/replicas", "value": -5}]}]"#,
                "metadata.annotations[federation.kubernetes.io/overrides]: Invalid value: \
                 \"[{\\\"patch\\\": [{\\\"op\\\": \\\"replace\\\", \\\"path\\\": \\\"/spec/replicas\\\", \\\"value\\\": -5}]}]\": \
                 [0].patch makes the object invalid: spec.replicas: Invalid value: -5: must be greater than or equal to 0",
            ),
            (
                "federation.kubernetes.io/adopt",
                "yes",
                "metadata.annotations[federation.kubernetes.io/adopt]: Unsupported value: \"yes\": \
                 supported values: \"false\", \"true\"",
            ),
        ];
        for (name, value, expected) in cases {
            assert_eq!(shown(json!({name: value})), [expected]);
        }
    }

    #[test]
    fn ignored_keys_and_misplaced_preferences_are_warned_about() {
        let object = replica_set(json!({
            "federation.kubernetes.io/replica-set-preferences": r#"{"clusters": {"eu": {"minReplica": 1}}}"#,
            "federation.kubernetes.io/deployment-preferences": "{}",
        }));
        assert_eq!(
            federated_warnings(&object),
            [
                "metadata.annotations[federation.kubernetes.io/replica-set-preferences]: unknown field \"clusters[eu].minReplica\"",
                "metadata.annotations[federation.kubernetes.io/deployment-preferences]: has no effect on a ReplicaSet",
            ]
        );
    }
}
