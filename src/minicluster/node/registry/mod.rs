//! The nodes that this process plays: it registers them, keeps them Ready, adopts new ones.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::sync::Notify;

use self::report::{internal_ip, metadata_patch, status};
use crate::{
    addresses::{Layout, Pool},
    context::Context,
    informer::{Key, assume},
    pods::Labels,
    queue::{self, Queue, Requeue},
    write::{code, difference},
};

mod lease;
mod report;

const NAME: &str = "kubelet";
/// Label of nodes that are to be played by this process, on clusters that have others too.
pub(crate) const LABEL: &str = "minicluster.kubefed.io/node";
/// Port of the kubelet API on every node address.
pub(crate) const KUBELET_PORT: u16 = 10250;
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
    /// Wakes the task that keeps the leases when a node has come.
    came: Notify,
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
            came: Notify::new(),
        });
        context.synced().await;
        registry.reserve_addresses();
        let queue = Arc::new(Queue::default());
        context.nodes.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.key.name().to_owned())
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
                Ok(node) => assume(&self.context.nodes, &node),
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
            .get(&Key::new(None, name))
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
        if let Some(patch) = metadata_patch(&node, &self.context.identity, self.range, self.all, Timestamp::now()) {
            let node = api.patch(name, &params, &Patch::Merge(patch)).await.map_err(report)?;
            assume(&self.context.nodes, &node);
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
            assume(&self.context.nodes, &node);
        }
        if self.addresses.write().insert(name.to_owned(), address) != Some(address) {
            self.tell(name);
            self.came.notify_one();
        }
        Ok(None)
    }

    fn tell(&self, name: &str) {
        for listener in self.listeners.read().iter() {
            listener(name);
        }
    }
}
