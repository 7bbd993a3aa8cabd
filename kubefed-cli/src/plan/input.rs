//! What a plan is made from: manifests, and clusters out of a file or out of the federation.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::cluster_selector::ClusterSelector;
use api::preferences::Preferences;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use planner::availability::{Availability, Patience};
use planner::placement::{ClusterView, Demand, Scaler, Scaling, place};
use planner::{ClusterInput, Resources, Share};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Common, federation, kubeconfig};

/// A cluster in a clusters file: the fields of a Cluster object that matter, without its nesting.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClusterEntry {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    current: Option<i64>,
    capacity: Option<i64>,
    #[serde(default)]
    region: String,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    taints: Vec<Value>,
    #[serde(default)]
    unschedulable: bool,
    #[serde(default)]
    allocatable: Value,
    #[serde(default)]
    requested: Value,
}

impl ClusterEntry {
    fn read(self) -> ClusterView {
        let object = json!({
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {"region": self.region, "zones": self.zones, "taints": self.taints, "unschedulable": self.unschedulable},
            "status": {"allocatable": self.allocatable, "requested": self.requested},
        });
        let input = ClusterInput {
            current: self.current,
            capacity: self.capacity,
            ..ClusterInput::of(&object)
        };
        ClusterView::new(input, Availability::Ready)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClustersFile {
    clusters: Vec<ClusterEntry>,
}

/// Reads a clusters file.
pub(crate) fn clusters_file(path: &Path) -> anyhow::Result<Vec<ClusterView>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: ClustersFile =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not a list of clusters", path.display()))?;
    let mut names: Vec<_> = file.clusters.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{}: cluster {:?} is there twice", path.display(), twice[0]);
    }
    Ok(file.clusters.into_iter().map(ClusterEntry::read).collect())
}

/// Reads the manifests of a file: YAML documents or JSON, lists unpacked.
pub(crate) fn manifests(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML or JSON", path.display()))?;
    let mut manifests = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut list)
                if list
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|k| k.ends_with("List")) =>
            {
                if let Some(Value::Array(items)) = list.remove("items") {
                    manifests.extend(items);
                }
            }
            Value::Object(object) => manifests.push(Value::Object(object)),
            other => bail!("{}: not a Kubernetes object: {other}", path.display()),
        }
    }
    Ok(manifests)
}

/// The federation a plan asks.
pub(crate) struct Federation {
    client: kube::Client,
    clusters: Vec<DynamicObject>,
}

impl Federation {
    /// Connects to the federation of `--context`, or of the current context.
    pub(crate) async fn connect(common: &Common) -> anyhow::Result<Self> {
        let config = kubeconfig::read(common)?;
        let context = common.context.clone().or(config.current_context.clone());
        let context = context.context("no current context: give --context or --clusters-file")?;
        let client = kubeconfig::client(&config, &context).await?;
        let clusters = federation::clusters(&client).list(&Default::default()).await;
        let clusters =
            clusters.with_context(|| format!("cannot list the clusters of {context:?}: is it a federation?"))?;
        Ok(Self {
            client,
            clusters: clusters.items,
        })
    }

    /// The clusters, with what runs there of the object now, as its controller sees them. One that does not answer
    /// for longer than `lost_after` is given up.
    pub(crate) async fn clusters(&self, manifest: &Value, lost_after: Duration) -> anyhow::Result<Vec<ClusterView>> {
        let detail = self.detail(manifest).await?;
        let now = Timestamp::now();
        let mut views: Vec<ClusterView> = self
            .clusters
            .iter()
            .map(|cluster| view(cluster, &detail, lost_after, now))
            .collect();
        for autoscaler in self.autoscalers(manifest).await? {
            let bounds = bounds(&autoscaler, &views)?;
            for view in &mut views {
                view.scaler = match bounds.get(view.name()) {
                    Some(share) => Scaler::Federated {
                        min: share.min.unwrap_or(1),
                        max: share.max.unwrap_or(1),
                    },
                    None => Scaler::Elsewhere,
                };
            }
        }
        Ok(views)
    }

    /// The object's own per-cluster status; nothing if it does not exist yet.
    async fn detail(&self, manifest: &Value) -> anyhow::Result<Value> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let (Some(api_version), Some(kind), Some(name)) = (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            bail!("a manifest lacks apiVersion, kind or metadata.name")
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let namespace = text("/metadata/namespace").unwrap_or("default");
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let object = api
            .get_opt(name)
            .await
            .with_context(|| format!("cannot read {kind} {namespace}/{name}"))?;
        let detail = object
            .as_ref()
            .and_then(|o| o.annotations().get(api::well_known::CLUSTER_STATUS));
        let Some(detail) = detail else {
            return Ok(Value::Null);
        };
        serde_json::from_str(detail)
            .with_context(|| format!("the per-cluster status of {kind} {namespace}/{name} cannot be read"))
    }

    /// The federation's autoscalers of an object.
    async fn autoscalers(&self, manifest: &Value) -> anyhow::Result<Vec<DynamicObject>> {
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
        let gvk = GroupVersionKind::gvk("autoscaling", "v2", "HorizontalPodAutoscaler");
        let resource = ApiResource::from_gvk(&gvk);
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let all = api.list(&Default::default()).await;
        let mut all = all.context("cannot list the federation's autoscalers")?.items;
        all.retain(|autoscaler| {
            let target = &autoscaler.data["spec"]["scaleTargetRef"];
            target["kind"] == manifest["kind"] && target["name"] == manifest["metadata"]["name"]
        });
        Ok(all)
    }
}

/// The clusters that an autoscaler of the federation works in, and between which numbers.
fn bounds(autoscaler: &DynamicObject, clusters: &[ClusterView]) -> anyhow::Result<BTreeMap<String, Share>> {
    let object = json!({"kind": "HorizontalPodAutoscaler", "metadata": autoscaler.metadata});
    let preferences = Preferences::of(&object)?.unwrap_or_else(Preferences::equal_shares);
    let selector = ClusterSelector::of(&object)?;
    let views: Vec<ClusterView> = clusters
        .iter()
        .map(|view| ClusterView {
            selected: selector.matches(&json!(view.cluster.labels)),
            ..ClusterView::new(view.cluster.clone(), view.availability)
        })
        .collect();
    let spec = &autoscaler.data["spec"];
    let demand = Demand {
        scaling: Scaling::Autoscaler { preferences: "" },
        key: &format!(
            "{}/{}",
            autoscaler.namespace().unwrap_or_default(),
            autoscaler.name_any()
        ),
        total: &Share {
            min: spec["minReplicas"].as_i64(),
            max: spec["maxReplicas"].as_i64(),
            ..Share::default()
        },
        preferences: &preferences,
        requests: Resources::default(),
    };
    Ok(place(&demand, &views).shares)
}

fn view(cluster: &DynamicObject, detail: &Value, lost_after: Duration, now: Timestamp) -> ClusterView {
    let object = json!({"metadata": cluster.metadata, "spec": cluster.data["spec"], "status": cluster.data["status"]});
    let copy = &detail[cluster.name_any()];
    let ready = copy["ready"].as_i64().unwrap_or(0);
    ClusterView {
        replicas: copy["replicas"].as_i64(),
        ready,
        existing: ready,
        start: copy["start"].as_i64(),
        home: copy["share"].as_i64(),
        scaler: if copy["autoscaled"] == true {
            Scaler::Member
        } else {
            Scaler::Plan
        },
        ..ClusterView::new(ClusterInput::of(&object), availability(&object, lost_after, now))
    }
}

/// How a cluster counts, by its conditions.
fn availability(cluster: &Value, lost_after: Duration, now: Timestamp) -> Availability {
    let conditions = cluster["status"]["conditions"].as_array();
    let Some(condition) = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready")) else {
        return Availability::Lost;
    };
    let since = condition["lastTransitionTime"]
        .as_str()
        .and_then(|time| time.parse().ok());
    let patience = Patience {
        lost_after,
        return_after: Duration::ZERO,
    };
    Availability::resume(condition["status"] == "True", since, now, patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_counts_as_its_conditions_say() {
        let now = Timestamp::from_second(1_000).unwrap();
        let cluster = |status: &str, second: i64| {
            let since = Timestamp::from_second(second).unwrap().to_string();
            json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}})
        };
        let counts = |object: &Value| availability(object, Duration::from_secs(60), now);
        assert_eq!(counts(&cluster("True", 0)), Availability::Ready);
        assert_eq!(counts(&cluster("False", 900)), Availability::Lost);
        assert!(matches!(
            counts(&cluster("Unknown", 990)),
            Availability::Unreachable { .. }
        ));
        assert_eq!(counts(&json!({})), Availability::Lost, "never probed");
    }
}
