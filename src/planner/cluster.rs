//! What a plan knows of one cluster, and how it is read from a Cluster object.

use std::collections::BTreeMap;

use api::well_known::{LABEL_REGION, LABEL_ZONE};
use apimachinery::{Object, meta};

use crate::room::Resources;

/// One cluster that may get replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterInput {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Replicas it keeps if it can: those that run there; `None` if the object is not there.
    pub current: Option<i64>,
    /// Replicas that fit there at most; `None` if nothing is known against it.
    pub capacity: Option<i64>,
    /// Replicas its copy is told to have, where that is not `current`.
    pub running: Option<i64>,
    /// Its region; empty if not known. The label wins.
    pub region: String,
    /// Its zones. The label wins.
    pub zones: Vec<String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What is allocatable and not requested; `None` if not known. Replicas of `running` count as requested.
    pub free: Option<Resources>,
}

/// Something about a cluster that keeps replicas away unless they tolerate it, with the meaning taints have on nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl ClusterInput {
    /// Reads a Cluster object. What runs there is not in it.
    #[must_use]
    pub fn of(cluster: &Object) -> Self {
        let (spec, status) = (&cluster["spec"], &cluster["status"]);
        let text = |value: &Object| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Object| value.as_array().cloned().unwrap_or_default();
        let observed = list(&status["zones"]);
        let zones = if observed.is_empty() {
            list(&spec["zones"])
        } else {
            observed
        };
        let region = Some(text(&status["region"])).filter(|region| !region.is_empty());
        let allocatable = Resources::of_list(&status["allocatable"]);
        Self {
            name: meta::name(cluster).to_owned(),
            labels: meta::labels(cluster)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            region: region.unwrap_or_else(|| text(&spec["region"])),
            zones: zones.iter().map(text).collect(),
            taints: list(&spec["taints"])
                .iter()
                .map(|taint| Taint {
                    key: text(&taint["key"]),
                    value: text(&taint["value"]),
                    effect: text(&taint["effect"]),
                })
                .collect(),
            unschedulable: spec["unschedulable"] == true,
            free: allocatable.map(|has| has.minus(Resources::of_list(&status["requested"]).unwrap_or_default())),
            ..Self::default()
        }
    }

    /// The values of a label; region and zones stand in for their labels where those are absent.
    #[must_use]
    pub fn values(&self, key: &str) -> Vec<&str> {
        if let Some(value) = self.labels.get(key) {
            return vec![value];
        }
        match key {
            LABEL_REGION if !self.region.is_empty() => vec![&self.region],
            LABEL_ZONE => self.zones.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Replicas its copy is told to have.
    pub(crate) fn running(&self) -> i64 {
        self.running.or(self.current).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_read_with_what_was_observed_before_what_was_declared() {
        let cluster = ClusterInput::of(&json!({
            "metadata": {"name": "eu", "labels": {"env": "prod"}},
            "spec": {"region": "declared", "zones": ["declared-a"], "unschedulable": true,
                "taints": [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]},
            "status": {"region": "europe-west1", "allocatable": {"cpu": "4", "memory": "1Gi", "pods": "110"},
                "requested": {"cpu": "1500m", "memory": "1Mi", "pods": "10"}},
        }));
        assert_eq!(cluster.values(LABEL_REGION), ["europe-west1"]);
        assert_eq!(cluster.values(LABEL_ZONE), ["declared-a"]);
        assert_eq!(cluster.values("env"), ["prod"]);
        assert!(cluster.unschedulable && cluster.taints[0].value == "a100");
        let free = cluster.free.expect("known");
        assert_eq!((free.cpu, free.memory, free.pods), (2500, 1023 << 20, 100));
    }

    #[test]
    fn a_cluster_never_seen_has_no_known_room() {
        assert_eq!(ClusterInput::of(&json!({"metadata": {"name": "new"}})).free, None);
    }
}
