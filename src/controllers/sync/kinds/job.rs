//! Jobs: parallelism and completions are planned separately, as v1 does; a federated Job is complete when
//! every shard is (v1 took the first for the whole), and failed when any failed.

use apimachinery::Object;
use client::{Resource, resources};
use planner::Share;
use serde_json::json;

use super::{Kind, Scaling, remove};
use crate::sync::{observe::Observed, status::Merge};

const OWN_LABELS: [&str; 4] = [
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
];

pub(super) struct Jobs;

impl Kind for Jobs {
    fn resource(&self) -> Resource {
        resources::JOBS
    }

    // The jobs of a CronJob are made by its copies.
    fn excluded(&self, object: &Object) -> bool {
        apimachinery::meta::controller_of(object).is_some()
    }

    /// A generated selector names the federated Job's uid; each copy generates its own.
    fn prune(&self, config: &mut Object) {
        if config["spec"]["manualSelector"] != true {
            remove(config, "/spec", &["selector", "manualSelector"]);
            remove(config, "/spec/template/metadata/labels", &OWN_LABELS);
            remove(config, "/metadata/labels", &OWN_LABELS);
        }
        remove(config, "/spec", &["parallelism", "completions"]);
    }

    fn scaling(&self) -> Scaling {
        Scaling::Job {
            preferences: api::well_known::JOB_PREFERENCES,
        }
    }

    fn demand(&self, object: &Object) -> Share {
        let spec = &object["spec"];
        Share {
            replicas: Some(spec["parallelism"].as_i64().unwrap_or(1)),
            completions: spec["completions"].as_i64(),
            ..Share::default()
        }
    }

    fn specialise(&self, config: &mut Object, share: &Share) {
        if let Some(parallelism) = share.replicas {
            config["spec"]["parallelism"] = json!(parallelism);
        }
        if let Some(completions) = share.completions {
            config["spec"]["completions"] = json!(completions);
        }
    }

    fn observe(&self, object: &Object) -> Observed {
        let fields = [
            "active",
            "ready",
            "terminating",
            "succeeded",
            "failed",
            "startTime",
            "completionTime",
            "conditions",
        ];
        Observed {
            existing: object["status"]["active"].as_i64().unwrap_or(0),
            ..Observed::status(object, &fields)
        }
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({});
        for field in ["active", "ready", "terminating", "succeeded", "failed"] {
            input.put_sum(&mut status, field);
        }
        let times = |field: &'static str| input.copies.iter().filter_map(move |c| c.status[field].as_str());
        if let Some(start) = times("startTime").min() {
            status["startTime"] = json!(start);
        }
        let failed = input
            .copies
            .iter()
            .find_map(|c| c.condition("Failed").map(|found| (c.cluster, found)));
        // Clusters without a share have nothing to complete.
        let complete = input.all_applied()
            && input.copies.iter().any(|c| c.condition("Complete").is_some())
            && input
                .copies
                .iter()
                .all(|c| c.condition("Complete").is_some() || c.share.is_nothing());
        if let Some((cluster, condition)) = failed {
            let mut condition = condition.clone();
            let message = format!("{cluster}: {}", condition["message"].as_str().unwrap_or_default());
            condition["message"] = json!(message);
            status["conditions"] = json!([condition]);
        } else if complete {
            let last = input
                .copies
                .iter()
                .filter_map(|c| c.condition("Complete"))
                .max_by_key(|c| c["lastTransitionTime"].as_str().unwrap_or_default().to_owned());
            // A job is only complete with both conditions, and with the time of completion.
            let mut criteria = last.cloned().unwrap_or_default();
            criteria["type"] = json!("SuccessCriteriaMet");
            status["conditions"] = json!([criteria, last]);
            if let Some(end) = times("completionTime").max() {
                status["completionTime"] = json!(end);
            }
        } else if let Some(suspended) = input.copies.iter().find_map(|c| c.condition("Suspended")) {
            status["conditions"] = json!([suspended]);
        }
        Some(status)
    }
}
