//! What a plan is made from: manifests, and clusters out of a file or out of the federation.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use planner::ClusterInput;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Common, federation, kubeconfig};

/// A cluster as the plan sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// What the planner is told of it.
    pub(crate) input: ClusterInput,
    /// Why nothing can be placed there now.
    pub(crate) unavailable: Option<String>,
}

impl Cluster {
    pub(crate) fn name(&self) -> &str {
        &self.input.name
    }

    pub(crate) fn labels_json(&self) -> Value {
        json!(self.input.labels)
    }
}

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
    fn read(self) -> Cluster {
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
        Cluster {
            input,
            unavailable: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClustersFile {
    clusters: Vec<ClusterEntry>,
}

/// Reads a clusters file.
pub(crate) fn clusters_file(path: &Path) -> anyhow::Result<Vec<Cluster>> {
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

    /// The clusters, with what runs there of the object now.
    pub(crate) async fn clusters(&self, manifest: &Value) -> anyhow::Result<Vec<Cluster>> {
        let current = self.current(manifest).await?;
        Ok(self
            .clusters
            .iter()
            .map(|cluster| describe(cluster, &current))
            .collect())
    }

    /// Replicas per cluster as the object's own per-cluster status tells them; none if it does not exist yet.
    async fn current(&self, manifest: &Value) -> anyhow::Result<BTreeMap<String, i64>> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let (Some(api_version), Some(kind), Some(name)) = (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            bail!("a manifest lacks apiVersion, kind or metadata.name")
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let namespace = text("/metadata/namespace").unwrap_or("default");
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let Some(object) = api
            .get_opt(name)
            .await
            .with_context(|| format!("cannot read {kind} {namespace}/{name}"))?
        else {
            return Ok(BTreeMap::new());
        };
        let Some(status) = object.annotations().get(api::well_known::CLUSTER_STATUS) else {
            return Ok(BTreeMap::new());
        };
        let status: BTreeMap<String, Value> = serde_json::from_str(status)
            .with_context(|| format!("the per-cluster status of {kind} {namespace}/{name} cannot be read"))?;
        Ok(status
            .into_iter()
            .filter_map(|(name, s)| Some((name, s["replicas"].as_i64()?)))
            .collect())
    }
}

fn describe(cluster: &DynamicObject, current: &BTreeMap<String, i64>) -> Cluster {
    let ready = federation::condition(cluster, "Ready");
    let object = json!({"metadata": cluster.metadata, "spec": cluster.data["spec"], "status": cluster.data["status"]});
    let input = ClusterInput {
        current: current.get(&cluster.name_any()).copied(),
        ..ClusterInput::of(&object)
    };
    Cluster {
        input,
        unavailable: (!ready).then(|| "not ready".to_owned()),
    }
}
