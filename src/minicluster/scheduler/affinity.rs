//! Which nodes a pod may run on at all: node selector, required node affinity, taints.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// Taint of a node that takes no new pods.
pub(crate) const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Whether node selector and required node affinity pick the node.
pub(crate) fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let by_labels = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value));
    let required = spec.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    by_labels && required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| meets(term, node)))
}

/// How well the preferred node affinity likes a node: the sum of the weights it meets.
pub(crate) fn preference(spec: &PodSpec, node: &Node) -> i64 {
    let preferred = spec.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let met = preferred
        .into_iter()
        .flatten()
        .filter(|term| meets(&term.preference, node));
    met.map(|term| i64::from(term.weight)).sum()
}

/// A term without any requirement picks nothing.
fn meets(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let field = |key: &str| {
        if key == "metadata.name" {
            node.metadata.name.as_deref()
        } else {
            None
        }
    };
    (!expressions.is_empty() || !fields.is_empty())
        && expressions
            .iter()
            .all(|requirement| holds(requirement, label(&requirement.key)))
        && fields
            .iter()
            .all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compare = |greater: bool| {
        let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
        let value = value.and_then(|value| value.parse::<i64>().ok());
        value
            .zip(bound)
            .is_some_and(|(value, bound)| if greater { value > bound } else { value < bound })
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(true),
        "Lt" => compare(false),
        _ => false,
    }
}

/// Whether one of the tolerations covers a taint.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == taint.effect)
            && ((key.is_empty() && exists) || key == taint.key)
            && (exists || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
    })
}

/// The first taint with one of these effects that the tolerations do not cover.
pub(crate) fn untolerated<'a>(node: &'a Node, tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    taints
        .iter()
        .find(|taint| effects.contains(&taint.effect.as_str()) && !tolerates(tolerations, taint))
}

/// Whether the node takes no new pods, and the tolerations do not cover that.
pub(crate) fn is_closed(node: &Node, tolerations: &[Toleration]) -> bool {
    let taint = Taint {
        key: UNSCHEDULABLE_TAINT.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) && !tolerates(tolerations, &taint)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node() -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        }))
        .unwrap()
    }

    fn required(terms: Value) -> PodSpec {
        serde_json::from_value(json!({
            "containers": [],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
        }))
        .unwrap()
    }

    #[test]
    fn affinity_terms_are_alternatives_and_their_requirements_add_up() {
        let cases = [
            (
                json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}]),
                false,
            ),
            (
                json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "gone", "operator": "Exists"}]}, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "gone", "operator": "Exists"}, {"key": "zone", "operator": "Exists"}]}]),
                false,
            ),
            (json!([{}]), false),
        ];
        for (terms, expected) in cases {
            assert_eq!(selects(&required(terms.clone()), &node()), expected, "{terms}");
        }
    }

    #[test]
    fn a_toleration_covers_by_key_value_and_effect() {
        let cases = [
            (json!({"key": "gpu", "value": "yes"}), true),
            (
                json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
                true,
            ),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "gpu", "value": "no"}), false),
            (json!({"key": "gpu", "value": "yes", "effect": "NoExecute"}), false),
        ];
        for (toleration, expected) in cases {
            let tolerations: Vec<Toleration> = serde_json::from_value(json!([toleration])).unwrap();
            assert_eq!(
                untolerated(&node(), &tolerations, &["NoSchedule"]).is_none(),
                expected,
                "{toleration}"
            );
        }
    }
}
