//! HorizontalPodAutoscalers: minimum and maximum are split, each cluster scales its own copy between its share.

use apimachinery::{Object, meta};
use client::{Key, Resource, resources};
use planner::Share;
use serde_json::json;

use super::{Kind, Scaling, index_of, remove};
use crate::sync::{SyncKey, observe::Observed, status::Merge};

pub(super) struct HorizontalPodAutoscalers;

impl Kind for HorizontalPodAutoscalers {
    fn resource(&self) -> Resource {
        resources::AUTOSCALERS
    }

    fn prune(&self, config: &mut Object) {
        remove(config, "/spec", &["minReplicas", "maxReplicas"]);
    }

    fn scaling(&self) -> Scaling {
        Scaling::Autoscaler {
            preferences: api::well_known::HPA_PREFERENCES,
        }
    }

    fn demand(&self, object: &Object) -> Share {
        let spec = &object["spec"];
        Share {
            min: Some(spec["minReplicas"].as_i64().unwrap_or(1)),
            max: Some(spec["maxReplicas"].as_i64().unwrap_or(1)),
            ..Share::default()
        }
    }

    fn specialise(&self, config: &mut Object, share: &Share) {
        if let (Some(min), Some(max)) = (share.min, share.max) {
            config["spec"]["minReplicas"] = json!(min);
            config["spec"]["maxReplicas"] = json!(max);
        }
    }

    fn scales(&self, object: &Object) -> Option<SyncKey> {
        let target = &object["spec"]["scaleTargetRef"];
        let kind = index_of(target["kind"].as_str()?)?;
        Some((kind, Key::new(Some(meta::namespace(object)), target["name"].as_str()?)))
    }

    fn observe(&self, object: &Object) -> Observed {
        let (spec, status) = (&object["spec"], &object["status"]);
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        Observed {
            replicas: spec["maxReplicas"].as_i64(),
            min: Some(spec["minReplicas"].as_i64().unwrap_or(1)),
            existing: number("desiredReplicas").max(number("currentReplicas")),
            ..Observed::status(
                object,
                &[
                    "currentReplicas",
                    "desiredReplicas",
                    "lastScaleTime",
                    "currentMetrics",
                    "conditions",
                ],
            )
        }
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({
            "currentReplicas": input.sum("currentReplicas"),
            "desiredReplicas": input.sum("desiredReplicas"),
            "observedGeneration": input.observed_generation(),
        });
        if let Some(last) = input
            .copies
            .iter()
            .filter_map(|c| c.status["lastScaleTime"].as_str())
            .max()
        {
            status["lastScaleTime"] = json!(last);
        }
        let metrics = weighted_metrics(input);
        if !metrics.is_empty() {
            status["currentMetrics"] = json!(metrics);
        }
        let conditions = input.worst_conditions(&["AbleToScale", "ScalingActive", "ScalingLimited"]);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        Some(status)
    }
}

/// Utilization of resources, weighted by the replicas that have it.
fn weighted_metrics(input: &Merge<'_>) -> Vec<Object> {
    let mut totals: Vec<(String, i64, i64)> = Vec::new();
    for copy in &input.copies {
        let weight = copy.status["currentReplicas"].as_i64().unwrap_or(0);
        for metric in copy.status["currentMetrics"].as_array().into_iter().flatten() {
            let resource = &metric["resource"];
            let (Some(name), Some(utilization)) = (
                resource["name"].as_str(),
                resource["current"]["averageUtilization"].as_i64(),
            ) else {
                continue;
            };
            match totals.iter_mut().find(|(known, _, _)| known == name) {
                Some((_, sum, weights)) => {
                    *sum += utilization * weight;
                    *weights += weight;
                }
                None => totals.push((name.to_owned(), utilization * weight, weight)),
            }
        }
    }
    totals
        .into_iter()
        .filter(|(_, _, weights)| *weights > 0)
        .map(|(name, sum, weights)| {
            json!({"type": "Resource", "resource": {"name": name, "current": {"averageUtilization": sum / weights}}})
        })
        .collect()
}
