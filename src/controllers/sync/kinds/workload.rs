//! ReplicaSets, Deployments and DaemonSets.

use apimachinery::{Object, meta};
use client::{Resource, resources};
use planner::Share;
use serde_json::json;

use super::{Kind, Scaling};
use crate::sync::{
    observe::Observed,
    status::{self, Merge},
};

/// Writes `spec.replicas`; without a share it is left out, for whoever owns it in the member.
pub(super) fn set_replicas(config: &mut Object, share: &Share) {
    let Some(spec) = config["spec"].as_object_mut() else {
        return;
    };
    match share.replicas {
        Some(replicas) => {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        None => {
            spec.shift_remove("replicas");
        }
    }
}

pub(super) fn replicas_demand(object: &Object) -> Share {
    Share {
        replicas: Some(object["spec"]["replicas"].as_i64().unwrap_or(1)),
        ..Share::default()
    }
}

fn prune_replicas(config: &mut Object) {
    super::remove(config, "/spec", &["replicas"]);
}

pub(super) struct ReplicaSets;

impl Kind for ReplicaSets {
    fn resource(&self) -> Resource {
        resources::REPLICA_SETS
    }

    // A ReplicaSet of a Deployment is that Deployment's affair, in every cluster.
    fn excluded(&self, object: &Object) -> bool {
        meta::controller_of(object).is_some() || meta::annotation(object, crate::history::RECORD).is_some()
    }

    fn prune(&self, config: &mut Object) {
        prune_replicas(config);
    }

    fn scaling(&self) -> Scaling {
        Scaling::Replicas {
            preferences: api::well_known::REPLICA_SET_PREFERENCES,
            ordinals: false,
        }
    }

    fn demand(&self, object: &Object) -> Share {
        replicas_demand(object)
    }

    fn specialise(&self, config: &mut Object, share: &Share) {
        set_replicas(config, share);
    }

    fn observe(&self, object: &Object) -> Observed {
        Observed::status(
            object,
            &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "conditions",
            ],
        )
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({
            "replicas": input.sum("replicas"),
            "observedGeneration": input.observed_generation(),
        });
        for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
            input.put_sum(&mut status, field);
        }
        let conditions = input.worst_conditions(&["ReplicaFailure"]);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        Some(status)
    }
}

pub(super) struct Deployments;

impl Kind for Deployments {
    fn resource(&self) -> Resource {
        resources::DEPLOYMENTS
    }

    fn prune(&self, config: &mut Object) {
        prune_replicas(config);
        super::remove(config, "/metadata/annotations", &["deployment.kubernetes.io/revision"]);
    }

    fn scaling(&self) -> Scaling {
        Scaling::Replicas {
            preferences: api::well_known::DEPLOYMENT_PREFERENCES,
            ordinals: false,
        }
    }

    fn demand(&self, object: &Object) -> Share {
        replicas_demand(object)
    }

    fn specialise(&self, config: &mut Object, share: &Share) {
        set_replicas(config, share);
    }

    fn observe(&self, object: &Object) -> Observed {
        Observed::status(
            object,
            &[
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "conditions",
            ],
        )
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({ "observedGeneration": input.observed_generation() });
        for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
            input.put_sum(&mut status, field);
        }
        let wanted = input.demand.replicas.unwrap_or(0);
        let unavailable = (wanted - input.sum("availableReplicas")).max(0);
        if unavailable > 0 {
            status["unavailableReplicas"] = json!(unavailable);
        }
        let conditions = status::deployment_conditions(input, wanted);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        Some(status)
    }
}

pub(super) struct DaemonSets;

impl Kind for DaemonSets {
    fn resource(&self) -> Resource {
        resources::DAEMON_SETS
    }

    fn prune(&self, config: &mut Object) {
        super::remove(
            config,
            "/metadata/annotations",
            &["deprecated.daemonset.template.generation"],
        );
    }

    fn observe(&self, object: &Object) -> Observed {
        let fields = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        Observed {
            existing: object["status"]["currentNumberScheduled"].as_i64().unwrap_or(0),
            ..Observed::status(object, &fields)
        }
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({
            "currentNumberScheduled": input.sum("currentNumberScheduled"),
            "numberMisscheduled": input.sum("numberMisscheduled"),
            "desiredNumberScheduled": input.sum("desiredNumberScheduled"),
            "numberReady": input.sum("numberReady"),
            "observedGeneration": input.observed_generation(),
        });
        for field in ["updatedNumberScheduled", "numberAvailable", "numberUnavailable"] {
            input.put_sum(&mut status, field);
        }
        Some(status)
    }
}
