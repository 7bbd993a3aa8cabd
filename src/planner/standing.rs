//! Whether a cluster may get replicas of an object at all: requirements, taints, cordons.
//!
//! As with nodes: what keeps new replicas away (`NoSchedule`, a cordon) leaves those that run where they are; an
//! unmet requirement or `NoExecute` sends them away.

use api::preferences::Preferences;
use api::well_known::TAINT_UNSCHEDULABLE;

use api::cluster_selector::Operator;

use crate::cluster::{ClusterInput, Taint};

/// How a cluster stands towards an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is in the way.
    Open,
    /// It gets replicas that fit nowhere else; why.
    Reluctant(String),
    /// It keeps what runs there and gets no more; why.
    Held(String),
    /// It gets nothing, and what runs there goes; why.
    Out(String),
}

impl Standing {
    /// Why it is not open, in words.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Reluctant(reason) | Self::Held(reason) | Self::Out(reason) => Some(reason),
        }
    }
}

/// How a cluster stands towards an object with these preferences.
#[must_use]
pub fn standing(preferences: &Preferences, cluster: &ClusterInput) -> Standing {
    let unmet = preferences.require.iter().find(|requirement| {
        let values = cluster.values(&requirement.key);
        let meets = |value: &&str| requirement.matches_value(Some(value));
        !match requirement.operator {
            _ if values.is_empty() => requirement.matches_value(None),
            Operator::NotIn => values.iter().all(meets),
            _ => values.iter().any(meets),
        }
    });
    if let Some(requirement) = unmet {
        return Standing::Out(format!("it does not meet the requirement {requirement}"));
    }
    let tolerated = |key: &str, value: &str, effect: &str| {
        preferences
            .tolerations
            .iter()
            .any(|toleration| toleration.tolerates(key, value, effect))
    };
    let taint = |effect: &str| {
        cluster
            .taints
            .iter()
            .find(|t| t.effect == effect && !tolerated(&t.key, &t.value, effect))
    };
    if let Some(taint) = taint("NoExecute") {
        return Standing::Out(format!("its taint {} is not tolerated", shown(taint)));
    }
    if cluster.unschedulable && !tolerated(TAINT_UNSCHEDULABLE, "", "NoSchedule") {
        return Standing::Held("it is cordoned and gets no new replicas".to_owned());
    }
    if let Some(taint) = taint("NoSchedule") {
        return Standing::Held(format!(
            "its taint {} is not tolerated, it gets no new replicas",
            shown(taint)
        ));
    }
    if let Some(taint) = taint("PreferNoSchedule") {
        return Standing::Reluctant(format!("its taint {} makes it the last resort", shown(taint)));
    }
    Standing::Open
}

fn shown(taint: &Taint) -> String {
    if taint.value.is_empty() {
        format!("{}:{}", taint.key, taint.effect)
    } else {
        format!("{}={}:{}", taint.key, taint.value, taint.effect)
    }
}
