//! What all parts of the process share: the client, the caches, the recorder of events.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{
    events::Recorder,
    informer::{self, Store},
    write::Writer,
};

/// Who the cluster is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name.
    pub cluster: String,
    /// Region of its nodes.
    pub region: String,
    /// Zone of its nodes.
    pub zone: String,
}

/// Shared by all parts.
pub struct Context {
    /// Who the cluster is.
    pub identity: Identity,
    /// The client of its API server.
    pub client: Client,
    /// All pods.
    pub pods: Arc<Store<Pod>>,
    /// All nodes.
    pub nodes: Arc<Store<Node>>,
    /// All services.
    pub services: Arc<Store<Service>>,
    /// All endpoint slices.
    pub slices: Arc<Store<EndpointSlice>>,
    /// Writes events.
    pub events: Recorder,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

impl Context {
    /// Starts the informers that every mode needs.
    pub fn start(identity: Identity, client: Client, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            identity,
            pods: informer::start(&client, None, shutdown.clone()),
            nodes: informer::start(&client, None, shutdown.clone()),
            services: informer::start(&client, None, shutdown.clone()),
            slices: informer::start(&client, None, shutdown.clone()),
            events: Recorder::start(client.clone(), shutdown.clone()),
            client,
            shutdown,
        })
    }

    /// A writer under a field manager.
    pub fn writer(&self, manager: &'static str) -> Writer {
        Writer::new(self.client.clone(), manager)
    }

    /// Waits until every cache holds its first list.
    pub async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
    }
}
