//! What all parts of the process share: the client, the caches, the recorder of events.

use std::sync::Arc;

use client::Rest;
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
pub(crate) struct Identity {
    /// Its name.
    pub(crate) cluster: String,
    /// Region of its nodes.
    pub(crate) region: String,
    /// Zone of its nodes.
    pub(crate) zone: String,
}

/// Shared by all parts.
pub(crate) struct Context {
    /// Who the cluster is.
    pub(crate) identity: Identity,
    /// The client of its API server.
    pub(crate) client: Client,
    /// The same for informers.
    pub(crate) rest: Rest,
    /// All pods.
    pub(crate) pods: Arc<Store<Pod>>,
    /// All nodes.
    pub(crate) nodes: Arc<Store<Node>>,
    /// All services.
    pub(crate) services: Arc<Store<Service>>,
    /// All endpoint slices.
    pub(crate) slices: Arc<Store<EndpointSlice>>,
    /// Writes events.
    pub(crate) events: Recorder,
    /// Ends everything.
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// Starts the informers that every mode needs.
    pub(crate) fn start(identity: Identity, rest: Rest, shutdown: CancellationToken) -> Arc<Self> {
        let client = rest.kube();
        Arc::new(Self {
            identity,
            pods: informer::start(&rest, &shutdown),
            nodes: informer::start(&rest, &shutdown),
            services: informer::start(&rest, &shutdown),
            slices: informer::start(&rest, &shutdown),
            events: Recorder::start(client.clone(), shutdown.clone()),
            client,
            rest,
            shutdown,
        })
    }

    /// A writer under a field manager.
    pub(crate) fn writer(&self, manager: &'static str) -> Writer {
        Writer::new(self.client.clone(), manager)
    }

    /// Waits until every cache holds its first list.
    pub(crate) async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
    }
}
