//! The leases by which nodes say that they live.
//!
//! On a real cluster a node without one is soon NotReady. In a minicluster nobody but `kubectl
//! describe node` looks, so there they are renewed seldom.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::Registry;
use crate::{informer::Key, write::code};

/// How often a node says that it lives where somebody relies on it.
const PERIOD: Duration = Duration::from_secs(10);
/// The same where nobody does.
const LAZY_PERIOD: Duration = Duration::from_secs(300);
/// A lease lasts so many periods.
const PERIODS: u32 = 4;
const NAMESPACE: &str = "kube-node-lease";

impl Registry {
    /// Renews the nodes' leases until the context shuts down.
    pub(crate) async fn keep_leases(self: Arc<Self>) {
        let api: Api<Lease> = Api::namespaced(self.context.client.clone(), NAMESPACE);
        let period = if self.all { LAZY_PERIOD } else { PERIOD };
        let mut tick = tokio::time::interval(period);
        loop {
            let due = tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                _ = tick.tick() => true,
                () = self.came.notified() => false,
            };
            for (name, _) in self.nodes() {
                if let Err(error) = self.renew(&api, &name, period, due).await {
                    tracing::warn!(node = name, %error, "cannot renew the lease of a node");
                }
            }
        }
    }

    /// Creates the lease of a node, or renews it if it is due.
    async fn renew(&self, api: &Api<Lease>, name: &str, period: Duration, due: bool) -> Result<(), kube::Error> {
        let Some(node) = self.context.nodes.get(&Key::new(None, name)) else {
            return Ok(());
        };
        let now = MicroTime(Timestamp::now());
        if due {
            let patch = json!({"spec": {"renewTime": now}});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if code(&error) == Some(404) => {}
                other => return other.map(drop),
            }
        }
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.to_owned(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(name.to_owned()),
                lease_duration_seconds: i32::try_from((period * PERIODS).as_secs()).ok(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        match api.create(&PostParams::default(), &lease).await {
            Err(error) if code(&error) == Some(409) => Ok(()),
            other => other.map(drop),
        }
    }
}
