//! The nodes that this process plays: it registers them, keeps them Ready, adopts new ones.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{
            DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo, Taint,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{MicroTime, ObjectMeta, Time},
    },
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::{
    addresses::{Layout, Pool},
    context::{Context, Identity},
    informer::Key,
    pods::Labels,
    queue::{self, Queue, Requeue},
    write::{code, difference},
};

const NAME: &str = "kubelet";
/// Label of nodes that are to be played by this process, on clusters that have others too.
pub(crate) const LABEL: &str = "minicluster.kubefed.io/node";
/// Annotation of nodes: the range of all addresses of the cluster.
const RANGE: &str = "minicluster.kubefed.io/pod-cidr";
/// Port of the kubelet API on every node address.
pub(crate) const KUBELET_PORT: u16 = 10250;
/// Version that the nodes report.
const VERSION: &str = "v1.36.2";
/// Taint of nodes that have not reported yet.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// How often a node says that it lives, where somebody watches its lease.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const LEASES: &str = "kube-node-lease";
/// File in the data directory with the nodes that were registered once: one that was deleted since stays away.
const FILE: &str = "nodes";

/// Why the nodes could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not take the node.
    #[error("cannot register node {name}")]
    Register {
        /// The node.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not take the node's state.
    #[error("cannot report node {name}")]
    Report {
        /// The node.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// All node addresses are taken.
    #[error("no address is free for node {0}")]
    NoAddress(String),
    /// The list of registered nodes could not be kept.
    #[error("cannot write {path}")]
    Remember {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a node has for pods.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    /// CPUs, as a quantity.
    pub(crate) cpu: String,
    /// Memory, as a quantity.
    pub(crate) memory: String,
    /// Pods.
    pub(crate) pods: u32,
}

type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// The nodes of this process.
pub(crate) struct Registry {
    context: Arc<Context>,
    capacity: Capacity,
    range: Ipv4Net,
    /// Whether every node of the cluster is ours, or only labelled ones.
    all: bool,
    pool: Mutex<Pool>,
    addresses: RwLock<HashMap<String, Ipv4Addr>>,
    listeners: RwLock<Vec<Listener>>,
}

impl Registry {
    /// Starts to keep nodes, with addresses of `layout`. `all`: every node of the cluster; otherwise those with the label [`LABEL`].
    pub(crate) async fn start(context: &Arc<Context>, capacity: Capacity, layout: Layout, all: bool) -> Arc<Self> {
        let registry = Arc::new(Self {
            context: context.clone(),
            capacity,
            range: layout.range(),
            all,
            pool: Mutex::new(Pool::new(layout.nodes())),
            addresses: RwLock::default(),
            listeners: RwLock::default(),
        });
        context.synced().await;
        registry.reserve_addresses();
        let queue = Arc::new(Queue::default());
        context.nodes.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.key().name)
        });
        let worker = registry.clone();
        queue::spawn(NAME, queue, 2, &context.shutdown, move |name| {
            let registry = worker.clone();
            async move { registry.sync(&name).await }
        });
        registry
    }

    /// Registers the first `count` nodes, each once in the life of the data directory.
    ///
    /// # Errors
    /// The API server refuses a node, or the list cannot be written.
    pub(crate) async fn register(&self, count: u32, data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        let api: Api<Node> = Api::all(self.context.client.clone());
        for index in 1..=count {
            let name = format!("{}-node-{index}", self.context.identity.cluster);
            if known.contains(&name) {
                continue;
            }
            let labels = Labels::from([(LABEL.to_owned(), String::new())]);
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            };
            match api
                .create(
                    &PostParams::default(),
                    &Node {
                        metadata,
                        ..Node::default()
                    },
                )
                .await
            {
                Ok(node) => self.context.nodes.assume(&node),
                Err(error) if code(&error) == Some(409) => {}
                Err(source) => {
                    return Err(Error::Register {
                        name,
                        source: Box::new(source),
                    });
                }
            }
            known.insert(name);
        }
        let text: String = known.iter().map(|name| format!("{name}\n")).collect();
        std::fs::write(&path, text).map_err(|source| Error::Remember { path, source })
    }

    /// The address of a node of ours.
    pub(crate) fn address(&self, node: &str) -> Option<Ipv4Addr> {
        self.addresses.read().get(node).copied()
    }

    /// The nodes of ours.
    pub(crate) fn nodes(&self) -> Vec<(String, Ipv4Addr)> {
        self.addresses
            .read()
            .iter()
            .map(|(name, address)| (name.clone(), *address))
            .collect()
    }

    /// Calls `listener` with the name of every node that comes or goes (and with those that are there).
    pub(crate) fn on_change(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        let mut listeners = self.listeners.write();
        for (name, _) in self.nodes() {
            listener(&name);
        }
        listeners.push(Box::new(listener));
    }

    fn is_ours(&self, node: &Node) -> bool {
        self.all
            || node
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(LABEL))
    }

    fn reserve_addresses(&self) {
        let mut pool = self.pool.lock();
        for node in self.context.nodes.list() {
            let wish = internal_ip(&node);
            if self.is_ours(&node) && wish.is_some() {
                pool.take(node.metadata.name.as_deref().unwrap_or_default(), wish);
            }
        }
    }

    async fn sync(&self, name: &str) -> Result<Requeue, Error> {
        let node = self
            .context
            .nodes
            .get(&Key::new("", name))
            .filter(|node| self.is_ours(node));
        let Some(node) = node else {
            if self.addresses.write().remove(name).is_some() {
                self.pool.lock().release(name);
                self.tell(name);
            }
            return Ok(None);
        };
        let address = self
            .pool
            .lock()
            .take(name, internal_ip(&node))
            .ok_or_else(|| Error::NoAddress(name.to_owned()))?;
        let report = |source| Error::Report {
            name: name.to_owned(),
            source: Box::new(source),
        };
        let api: Api<Node> = Api::all(self.context.client.clone());
        let params = PatchParams {
            field_manager: Some(NAME.into()),
            ..PatchParams::default()
        };
        if let Some(patch) = metadata_patch(&node, &self.context.identity, self.range) {
            let node = api.patch(name, &params, &Patch::Merge(patch)).await.map_err(report)?;
            self.context.nodes.assume(&node);
        }
        let held = node.status.clone().unwrap_or_default();
        let wanted = status(&held, name, (address, self.all), &self.capacity, Timestamp::now());
        let (old, new) = (serde_json::to_value(&held), serde_json::to_value(&wanted));
        if let (Ok(old), Ok(new)) = (old, new)
            && let Some(patch) = difference(&old, &new)
        {
            let node = api
                .patch_status(name, &params, &Patch::Merge(json!({"status": patch})))
                .await
                .map_err(report)?;
            self.context.nodes.assume(&node);
        }
        if self.addresses.write().insert(name.to_owned(), address) != Some(address) {
            self.tell(name);
        }
        Ok(None)
    }

    fn tell(&self, name: &str) {
        for listener in self.listeners.read().iter() {
            listener(name);
        }
    }

    /// Renews the nodes' leases until the context shuts down: on a real cluster a node without is soon NotReady.
    pub(crate) async fn keep_leases(self: Arc<Self>) {
        let api: Api<Lease> = Api::namespaced(self.context.client.clone(), LEASES);
        let mut tick = tokio::time::interval(LEASE_PERIOD);
        while self.context.shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            for (name, _) in self.nodes() {
                if let Err(error) = renew(&api, &name).await {
                    tracing::warn!(node = name, %error, "cannot renew the lease of a node");
                }
            }
        }
    }
}

async fn renew(api: &Api<Lease>, name: &str) -> Result<(), kube::Error> {
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(error) if code(&error) == Some(404) => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(LEASES.into()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(name.to_owned()),
                    lease_duration_seconds: Some(LEASE_SECONDS),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                }),
            };
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses
        .iter()
        .find(|address| address.type_ == "InternalIP")?
        .address
        .parse()
        .ok()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Labels that the node lacks, and the taint of nodes that have not reported; `None` if all is well.
fn metadata_patch(node: &Node, identity: &Identity, range: Ipv4Net) -> Option<serde_json::Value> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let wanted = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("topology.kubernetes.io/region", &identity.region),
        ("topology.kubernetes.io/zone", &identity.zone),
    ];
    let held = node.metadata.labels.as_ref();
    let missing: BTreeMap<_, _> = wanted
        .into_iter()
        .filter(|(key, value)| !value.is_empty() && held.is_none_or(|held| !held.contains_key(*key)))
        .collect();
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let kept: Vec<&Taint> = taints.iter().filter(|taint| taint.key != NOT_READY).collect();
    let mut patch = json!({"metadata": {"uid": node.metadata.uid}});
    if !missing.is_empty() {
        patch["metadata"]["labels"] = json!(missing);
    }
    if kept.len() < taints.len() {
        patch["spec"] = json!({"taints": kept});
    }
    let range = range.to_string();
    let ranged = node.metadata.annotations.as_ref().and_then(|all| all.get(RANGE)) == Some(&range);
    if !ranged {
        patch["metadata"]["annotations"] = json!({RANGE: range});
    }
    (!ranged || !missing.is_empty() || kept.len() < taints.len()).then_some(patch)
}

/// The status of a healthy node. Times of conditions that hold already, and a capacity that somebody gave it, stay.
/// A host name is reported only where it is not asked of a DNS server that has never heard of it: kube-apiserver
/// would prefer it to the address.
fn status(
    held: &NodeStatus,
    name: &str,
    (address, has_hostname): (Ipv4Addr, bool),
    capacity: &Capacity,
    now: Timestamp,
) -> NodeStatus {
    let address_of = |kind: &str, address: String| NodeAddress {
        type_: kind.into(),
        address,
    };
    let mut addresses = vec![address_of("InternalIP", address.to_string())];
    if has_hostname {
        addresses.push(address_of("Hostname", name.to_owned()));
    }
    let amounts = BTreeMap::from([
        ("cpu".to_owned(), Quantity(capacity.cpu.clone())),
        ("memory".to_owned(), Quantity(capacity.memory.clone())),
        ("pods".to_owned(), Quantity(capacity.pods.to_string())),
        ("ephemeral-storage".to_owned(), Quantity("100Gi".into())),
    ]);
    let given = held.capacity.clone().filter(|given| given.contains_key("cpu"));
    let capacity = given.unwrap_or(amounts);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let known = held
            .conditions
            .iter()
            .flatten()
            .find(|known| known.type_ == kind && known.status == status);
        let time = |pick: fn(&NodeCondition) -> Option<Time>| known.and_then(pick).or(Some(Time(now)));
        NodeCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: time(|known| known.last_heartbeat_time.clone()),
            last_transition_time: time(|known| known.last_transition_time.clone()),
        }
    };
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(
            held.allocatable
                .clone()
                .filter(|held| held.contains_key("cpu"))
                .unwrap_or_else(|| capacity.clone()),
        ),
        capacity: Some(capacity),
        conditions: Some(vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: KUBELET_PORT.into(),
            }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().into(),
            operating_system: "linux".into(),
            os_image: "kubefed minicluster".into(),
            kernel_version: kernel("osrelease"),
            kubelet_version: VERSION.into(),
            kube_proxy_version: String::new(),
            container_runtime_version: format!("minicluster://{}", env!("CARGO_PKG_VERSION")),
            machine_id: name.into(),
            system_uuid: name.into(),
            boot_id: kernel("random/boot_id"),
            ..NodeSystemInfo::default()
        }),
        ..held.clone()
    }
}

/// A fact that the kernel tells.
fn kernel(fact: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/kernel/{fact}"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity {
            cpu: "4".into(),
            memory: "16Gi".into(),
            pods: 110,
        }
    }

    #[test]
    fn a_node_is_labelled_once_and_keeps_its_own_zone() {
        let identity = Identity {
            cluster: "us".into(),
            region: "us-east1".into(),
            zone: "us-east1-b".into(),
        };
        let mut node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "mine"}},
            "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoSchedule"}]},
        }))
        .unwrap();
        let range = "127.16.0.0/16".parse().unwrap();
        let patch = metadata_patch(&node, &identity, range).unwrap();
        assert_eq!(patch["metadata"]["labels"]["topology.kubernetes.io/region"], "us-east1");
        assert!(patch["metadata"]["labels"].get("topology.kubernetes.io/zone").is_none());
        assert_eq!(patch["spec"]["taints"].as_array().unwrap().len(), 1);
        let labels: Labels = serde_json::from_value(patch["metadata"]["labels"].clone()).unwrap();
        node.metadata.labels.as_mut().unwrap().extend(labels);
        node.spec = None;
        node.metadata.annotations = serde_json::from_value(patch["metadata"]["annotations"].clone()).unwrap();
        assert_eq!(metadata_patch(&node, &identity, range), None);
    }

    #[test]
    fn reporting_again_changes_nothing() {
        let address = Ipv4Addr::new(127, 16, 0, 1);
        let first = status(
            &NodeStatus::default(),
            "n1",
            (address, true),
            &capacity(),
            "2026-01-01T00:00:00Z".parse().unwrap(),
        );
        let second = status(
            &first,
            "n1",
            (address, true),
            &capacity(),
            "2026-01-02T00:00:00Z".parse().unwrap(),
        );
        assert_eq!(first, second);
    }
}
