//! What a cluster is used for, as the federation's own objects tell: replicas per object, traffic per Service.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use api::well_known::{CLUSTER_STATUS, LABEL_CLUSTER, LABEL_SERVICE_NAME};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// Kinds whose replicas are split.
const WORKLOADS: [&str; 3] = ["ReplicaSet", "Deployment", "StatefulSet"];
const PAGE: u32 = 500;

async fn list(client: &Client, gvk: GroupVersionKind) -> anyhow::Result<Vec<DynamicObject>> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
    let mut all = Vec::new();
    let mut next = None;
    loop {
        let params = ListParams {
            limit: Some(PAGE),
            continue_token: next,
            ..ListParams::default()
        };
        let page = api.list(&params).await;
        let page = page.with_context(|| format!("cannot list {} objects of the federation", gvk.kind))?;
        next = page.metadata.continue_.filter(|token| !token.is_empty());
        all.extend(page.items);
        if next.is_none() {
            return Ok(all);
        }
    }
}

/// What an object's per-cluster detail says.
fn detail(object: &DynamicObject) -> BTreeMap<String, Value> {
    let text = object.annotations().get(CLUSTER_STATUS);
    text.and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default()
}

async fn workloads(client: &Client) -> anyhow::Result<Vec<(String, DynamicObject)>> {
    let mut all = Vec::new();
    for kind in WORKLOADS {
        for object in list(client, GroupVersionKind::gvk("apps", "v1", kind)).await? {
            let name = format!(
                "{kind} {}/{}",
                object.namespace().unwrap_or_default(),
                object.name_any()
            );
            all.push((name, object));
        }
    }
    Ok(all)
}

/// Objects that have replicas in a cluster, and how many.
pub(crate) async fn replicas_in(client: &Client, cluster: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let all = workloads(client).await?;
    Ok(all
        .into_iter()
        .filter_map(|(name, object)| {
            let replicas = detail(&object).get(cluster)?["replicas"].as_i64()?;
            (replicas > 0).then_some((name, replicas))
        })
        .collect())
}

/// Objects whose pods stay in a drained cluster, and why.
pub(crate) async fn staying_in(client: &Client, cluster: &str) -> anyhow::Result<Vec<String>> {
    let mut staying = Vec::new();
    for (group, kind) in [("batch", "Job"), ("apps", "DaemonSet")] {
        for object in list(client, GroupVersionKind::gvk(group, "v1", kind)).await? {
            let reason = detail(&object).get(cluster).and_then(|entry| why_it_stays(kind, entry));
            let namespace = object.namespace().unwrap_or_default();
            staying.extend(reason.map(|why| format!("{kind} {namespace}/{}: {why}", object.name_any())));
        }
    }
    Ok(staying)
}

fn why_it_stays(kind: &str, entry: &Value) -> Option<String> {
    let pods = entry["pods"].as_i64().filter(|pods| *pods > 0)?;
    Some(match kind {
        "Job" => format!("{pods} pods run until they are done, for what has been started cannot go on elsewhere"),
        _ => format!("{pods} pods, one for each node that wants it; they go with the nodes"),
    })
}

/// Whether every object has as many replicas ready in other clusters as it wants in all.
pub(crate) async fn replaced(client: &Client, cluster: &str) -> anyhow::Result<bool> {
    let all = workloads(client).await?;
    Ok(all
        .iter()
        .all(|(_, object)| is_replaced(&object.data, &detail(object), cluster)))
}

fn is_replaced(object: &Value, detail: &BTreeMap<String, Value>, cluster: &str) -> bool {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let elsewhere: i64 = detail
        .iter()
        .filter(|(name, _)| *name != cluster)
        .filter_map(|(_, entry)| entry["ready"].as_i64())
        .sum();
    !detail.contains_key(cluster) || elsewhere >= wanted
}

/// Whether no Service sends clients to a cluster that others could serve.
pub(super) async fn is_without_traffic(client: &Client, cluster: &str) -> anyhow::Result<bool> {
    let slices = list(client, GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice")).await?;
    let ready_in = |here: bool| -> BTreeSet<(String, String)> {
        slices
            .iter()
            .filter(|slice| {
                slice
                    .labels()
                    .get(LABEL_CLUSTER)
                    .is_some_and(|c| (c == cluster) == here)
            })
            .filter(|slice| is_ready(&slice.data))
            .filter_map(|slice| Some((slice.namespace()?, slice.labels().get(LABEL_SERVICE_NAME)?.clone())))
            .collect()
    };
    Ok(ready_in(true).is_disjoint(&ready_in(false)))
}

fn is_ready(slice: &Value) -> bool {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints.into_iter().any(|e| e["conditions"]["ready"] != false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_replaced_when_the_others_have_all_of_it_ready() {
        let object = json!({"spec": {"replicas": 4}});
        let detail = |us: i64| {
            BTreeMap::from([
                ("eu".to_owned(), json!({"replicas": 2, "ready": 2})),
                ("us".to_owned(), json!({"replicas": 4, "ready": us})),
            ])
        };
        assert!(!is_replaced(&object, &detail(3), "eu"));
        assert!(is_replaced(&object, &detail(4), "eu"));
        assert!(is_replaced(&object, &detail(0), "asia"), "it never was there");
    }

    #[test]
    fn pods_that_stay_are_told_with_a_reason() {
        let job = why_it_stays("Job", &json!({"pods": 3})).unwrap();
        assert!(job.starts_with("3 pods run until they are done"), "{job}");
        let daemons = why_it_stays("DaemonSet", &json!({"pods": 2, "ready": 1})).unwrap();
        assert!(daemons.contains("one for each node"), "{daemons}");
        assert_eq!(why_it_stays("Job", &json!({"pods": 0})), None, "it is done");
    }

    #[test]
    fn a_slice_is_ready_while_any_endpoint_takes_clients() {
        assert!(is_ready(
            &json!({"endpoints": [{"conditions": {"ready": false}}, {"conditions": {}}]})
        ));
        assert!(!is_ready(
            &json!({"endpoints": [{"conditions": {"ready": false, "terminating": true}}]})
        ));
        assert!(!is_ready(&json!({})));
    }
}
