//! What admission refuses in preferences that can be read.

use serde_json::{Value, json};

use super::{Amount, Preferences};

/// Something in preferences that cannot be meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Path of the field inside the annotation, as `clusters[eu].minReplicas`.
    pub field: String,
    /// The value there.
    pub value: Value,
    /// What is wrong with it.
    pub detail: String,
}

const NON_NEGATIVE: &str = "must be greater than or equal to 0";

pub(super) fn problems(preferences: &Preferences) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |field: String, value: Value, detail: &str| {
        problems.push(Problem {
            field,
            value,
            detail: detail.to_owned(),
        });
    };
    for (name, wishes) in &preferences.clusters {
        if name.is_empty() {
            refuse("clusters".into(), json!(name), "a cluster name must not be empty");
        }
        let numbers = [
            ("minReplicas", Some(wishes.min_replicas)),
            ("maxReplicas", wishes.max_replicas),
            ("weight", Some(wishes.weight)),
        ];
        for (key, number) in numbers {
            if let Some(number) = number.filter(|n| *n < 0) {
                refuse(format!("clusters[{name}].{key}"), json!(number), NON_NEGATIVE);
            }
        }
        if let Some(max) = wishes
            .max_replicas
            .filter(|max| *max >= 0 && *max < wishes.min_replicas)
        {
            let detail = format!("must be greater than or equal to minReplicas ({})", wishes.min_replicas);
            refuse(format!("clusters[{name}].maxReplicas"), json!(max), &detail);
        }
    }
    for (key, groups) in [
        ("minGroups", preferences.min_groups),
        ("maxGroups", preferences.max_groups),
    ] {
        let Some(groups) = groups else { continue };
        if groups < 1 {
            refuse(key.into(), json!(groups), "must be greater than or equal to 1");
        }
        if preferences.spread_by.is_none() {
            refuse(key.into(), json!(groups), "needs spreadBy");
        }
    }
    if let (Some(min), Some(max)) = (preferences.min_groups, preferences.max_groups)
        && max < min
    {
        refuse(
            "maxGroups".into(),
            json!(max),
            &format!("must be greater than or equal to minGroups ({min})"),
        );
    }
    for (index, name) in preferences.order.iter().enumerate() {
        if name.is_empty() {
            refuse(
                format!("order[{index}]"),
                json!(name),
                "a cluster name must not be empty",
            );
        }
        if preferences.order[..index].contains(name) {
            refuse(format!("order[{index}]"), json!(name), "is there twice");
        }
    }
    match preferences.min_available {
        Some(Amount::Replicas(n)) if n < 0 => refuse("minAvailable".into(), json!(n), NON_NEGATIVE),
        Some(Amount::Percent(p)) if !(0..=100).contains(&p) => {
            refuse(
                "minAvailable".into(),
                json!(format!("{p}%")),
                "must be between 0% and 100%",
            );
        }
        _ => {}
    }
    for (index, toleration) in preferences.tolerations.iter().enumerate() {
        if toleration.key.is_empty() && !toleration.exists {
            refuse(
                format!("tolerations[{index}].key"),
                json!(""),
                "an empty key needs operator Exists",
            );
        }
        if !matches!(
            toleration.effect.as_str(),
            "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute"
        ) {
            let detail = "must be NoSchedule, PreferNoSchedule or NoExecute";
            refuse(format!("tolerations[{index}].effect"), json!(toleration.effect), detail);
        }
    }
    problems
}
