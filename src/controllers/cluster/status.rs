//! The status of a Cluster from what a probe saw. Pure.

use apimachinery::{
    Object,
    quantity::{Format, Quantity},
    time,
};
use jiff::Timestamp;
use planner::Resources;
use serde_json::json;

use super::nodes::NodeSummary;

/// Condition: the cluster answers and says it is well.
pub(super) const READY: &str = "Ready";
/// Condition: the cluster does not answer.
pub(super) const OFFLINE: &str = "Offline";

/// What a probe saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Probe {
    /// `/healthz` said ok.
    Healthy {
        /// Version of the API server, if it told.
        version: Option<String>,
        /// Its nodes, if they may be listed.
        nodes: Option<Box<NodeSummary>>,
        /// What is wrong nevertheless, for people.
        remark: Option<String>,
    },
    /// `/healthz` said something else.
    Unhealthy {
        /// What it said.
        message: String,
    },
    /// No answer, or none to us.
    Unreachable {
        /// Why.
        message: String,
    },
}

impl Probe {
    /// What there is to say, if anything.
    pub(super) fn remark(&self) -> Option<&str> {
        match self {
            Self::Healthy { remark, .. } => remark.as_deref(),
            Self::Unhealthy { message } | Self::Unreachable { message } => Some(message),
        }
    }
}

fn condition(previous: &Object, kind: &str, status: &str, reason: &str, message: &str, now: &str) -> Object {
    let old = previous["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == kind));
    let transition = old
        .filter(|c| c["status"] == status)
        .and_then(|c| c["lastTransitionTime"].as_str())
        .unwrap_or(now);
    json!({
        "type": kind,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": transition,
        "reason": reason,
        "message": message,
    })
}

/// The status after a probe. Region, zones, version and nodes of a cluster that does not answer stay as they were.
#[must_use]
pub(super) fn after(previous: &Object, probe: &Probe, now: Timestamp) -> Object {
    let now = time::format(now);
    let mut status = if previous.is_object() {
        previous.clone()
    } else {
        json!({})
    };
    let make =
        |kind: &str, value: &str, reason: &str, message: &str| condition(previous, kind, value, reason, message, &now);
    let conditions = match probe {
        Probe::Healthy { version, nodes, remark } => {
            if let Some(version) = version {
                status["version"] = json!(version);
            }
            if let Some(nodes) = nodes {
                nodes.write(&mut status);
            }
            let message = match remark {
                None => "/healthz responded with ok".to_owned(),
                Some(remark) => format!("/healthz responded with ok, but {remark}"),
            };
            [
                make(READY, "True", "ClusterReady", &message),
                make(OFFLINE, "False", "ClusterReachable", "the cluster answers"),
            ]
        }
        Probe::Unhealthy { message } => [
            make(READY, "False", "ClusterNotReady", message),
            make(OFFLINE, "False", "ClusterReachable", "the cluster answers"),
        ],
        Probe::Unreachable { message } => [
            make(READY, "Unknown", "ClusterNotReachable", message),
            make(OFFLINE, "True", "ClusterNotReachable", message),
        ],
    };
    status["conditions"] = json!(conditions);
    status
}

/// Amounts as a resource list.
#[must_use]
pub(super) fn amounts(of: Resources) -> Object {
    json!({
        "cpu": Quantity::from_milli(of.cpu).to_string(),
        "memory": Quantity::from_integer(of.memory, Format::BinarySi).to_string(),
        "pods": of.pods.to_string(),
    })
}

/// Whether the two differ in more than the time of the probe.
#[must_use]
pub(super) fn differs(old: &Object, new: &Object) -> bool {
    let without_times = |status: &Object| {
        let mut status = status.clone();
        if let Some(fields) = status.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        if let Some(conditions) = status["conditions"].as_array_mut() {
            for condition in conditions {
                condition["lastProbeTime"] = Object::Null;
            }
        }
        status
    };
    without_times(old) != without_times(new)
}

/// Whether a Cluster's condition Ready is True, and since when it has had its state.
#[must_use]
pub(super) fn readiness(cluster: &Object) -> Option<(bool, Option<Timestamp>)> {
    let conditions = cluster["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|c| c["type"] == READY)?;
    Some((
        ready["status"] == "True",
        ready["lastTransitionTime"].as_str().and_then(time::parse),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("valid")
    }

    fn healthy() -> Probe {
        Probe::Healthy {
            version: Some("v1.36.0".to_owned()),
            nodes: None,
            remark: None,
        }
    }

    #[test]
    fn a_healthy_cluster_is_ready_and_keeps_its_transition_time() {
        let first = after(&Object::Null, &healthy(), at(100));
        let second = after(&first, &healthy(), at(200));
        assert_eq!(second["conditions"][0]["status"], "True");
        assert_eq!(second["conditions"][0]["reason"], "ClusterReady");
        assert_eq!(second["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
        assert_eq!(second["conditions"][0]["lastProbeTime"], "1970-01-01T00:03:20Z");
        assert!(!differs(&first, &second), "nothing to write");
    }

    #[test]
    fn an_offline_cluster_keeps_what_was_known_of_it() {
        let first = after(&Object::Null, &healthy(), at(100));
        let gone = after(
            &first,
            &Probe::Unreachable {
                message: "connection refused".to_owned(),
            },
            at(200),
        );
        assert_eq!(gone["version"], "v1.36.0");
        assert_eq!(gone["conditions"][0]["status"], "Unknown");
        assert_eq!(gone["conditions"][1]["status"], "True");
        assert_eq!(gone["conditions"][1]["message"], "connection refused");
        assert_eq!(gone["conditions"][1]["lastTransitionTime"], "1970-01-01T00:03:20Z");
        assert!(differs(&first, &gone));
        assert_eq!(readiness(&json!({ "status": gone })), Some((false, Some(at(200)))));
    }

    #[test]
    fn an_unhealthy_cluster_is_not_ready_but_not_offline() {
        let status = after(
            &Object::Null,
            &Probe::Unhealthy {
                message: "etcd failed".to_owned(),
            },
            at(100),
        );
        assert_eq!(status["conditions"][0]["status"], "False");
        assert_eq!(status["conditions"][0]["reason"], "ClusterNotReady");
        assert_eq!(status["conditions"][1]["status"], "False");
    }
}
