//! StatefulSets: each cluster gets a contiguous range of ordinals, so that names stay unique in the federation. Ranges
//! stay where they are when other clusters change.

use apimachinery::Object;
use client::{Resource, resources};
use planner::Share;
use serde_json::json;

use super::{Kind, Scaling, workload};
use crate::sync::{observe::Observed, status::Merge};

pub(super) struct StatefulSets;

impl Kind for StatefulSets {
    fn resource(&self) -> Resource {
        resources::STATEFUL_SETS
    }

    fn prune(&self, config: &mut Object) {
        super::remove(config, "/spec", &["replicas"]);
    }

    fn scaling(&self) -> Scaling {
        Scaling::Replicas {
            preferences: api::well_known::STATEFUL_SET_PREFERENCES,
            ordinals: true,
        }
    }

    fn demand(&self, object: &Object) -> Share {
        Share {
            start: object["spec"]["ordinals"]["start"].as_i64(),
            ..workload::replicas_demand(object)
        }
    }

    fn specialise(&self, config: &mut Object, share: &Share) {
        workload::set_replicas(config, share);
        if let Some(start) = share.start {
            config["spec"]["ordinals"] = json!({ "start": start });
        }
    }

    fn observe(&self, object: &Object) -> Observed {
        let fields = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "currentRevision",
            "updateRevision",
        ];
        Observed {
            start: Some(object["spec"]["ordinals"]["start"].as_i64().unwrap_or(0)),
            ..Observed::status(object, &fields)
        }
    }

    /// Revisions are named by their hash, which is the same in every cluster once all run the same template.
    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({
            "replicas": input.sum("replicas"),
            "availableReplicas": input.sum("availableReplicas"),
            "observedGeneration": input.observed_generation(),
        });
        for field in ["readyReplicas", "currentReplicas", "updatedReplicas"] {
            input.put_sum(&mut status, field);
        }
        for field in ["currentRevision", "updateRevision"] {
            let mut revisions = input.copies.iter().filter_map(|c| c.status[field].as_str());
            if let Some(first) = revisions.next()
                && revisions.all(|other| other == first)
            {
                status[field] = json!(first);
            }
        }
        Some(status)
    }
}
