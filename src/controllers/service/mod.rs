//! The service controller: publishes, per federated Service and cluster, where it is reached.
//!
//! One EndpointSlice per cluster in the federation API, which load balancer, DNS and users read. The slice of a cluster
//! that does not answer stays as it was: its clients notice by themselves whether its addresses still work.

pub mod endpoints;

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::well_known;
use apimachinery::{Object, meta};
use client::{
    Informer, Key, Rest, Store,
    error::chain,
    informer::{Change, Scope},
    queue::{self, Outcome},
    resources::ENDPOINT_SLICES,
    rest::Propagation,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::endpoints::{Reach, Slice};
use crate::{
    hash::Hash,
    members::{Member, Members},
    sync::{Engine, federated::Federated, kinds},
    wake::Wake,
};

/// A slice that changes with every pod is written at most this often.
const PERIOD: Duration = Duration::from_millis(250);

/// A slice of ours in the federation, reduced.
struct Published {
    service: Key,
    cluster: Box<str>,
    hash: Option<Hash>,
}

/// Whether a cluster is to lose its traffic: it is being drained, or about to leave.
fn is_drained(cluster: &Object) -> bool {
    cluster["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|taint| taint["key"] == well_known::TAINT_DRAINING || taint["key"] == well_known::TAINT_LEAVING)
}

/// The service controller.
pub struct Services {
    federation: Rest,
    engine: Arc<Engine>,
    clusters: Arc<Store<Object>>,
    members: Arc<Members>,
    published: Informer<Published>,
    written: Mutex<HashMap<Key, Instant>>,
}

impl Services {
    /// Starts watching what has been published.
    #[must_use]
    pub fn start(
        federation: Rest,
        engine: Arc<Engine>,
        clusters: Arc<Store<Object>>,
        members: Arc<Members>,
        wake: &Arc<Wake>,
    ) -> Arc<Self> {
        let labels = format!("endpointslice.kubernetes.io/managed-by={}", endpoints::MANAGER);
        let waker = Arc::clone(wake);
        let published = Informer::start(
            federation.clone(),
            Scope::labelled(ENDPOINT_SLICES, &labels),
            |object| {
                let service = meta::label(&object, well_known::LABEL_SERVICE_NAME)?;
                Some(Published {
                    service: Key::new(Some(meta::namespace(&object)), service),
                    cluster: meta::label(&object, well_known::LABEL_CLUSTER)?.into(),
                    hash: meta::annotation(&object, well_known::APPLIED_HASH).and_then(Hash::parse),
                })
            },
            move |change: Change<'_, Published>| {
                if let Some(slice) = change.new.or(change.old) {
                    waker.services.add(slice.service.clone());
                }
            },
        );
        Arc::new(Self {
            federation,
            engine,
            clusters,
            members,
            published,
            written: Mutex::default(),
        })
    }

    /// Publishes until `shutdown`.
    pub async fn run(self: Arc<Self>, wake: &Wake, shutdown: CancellationToken) {
        self.published.store.synced().await;
        let queue = Arc::clone(&wake.services);
        queue::run(queue, 4, shutdown, move |key: Key| {
            let services = Arc::clone(&self);
            async move {
                match services.reconcile(&key).await {
                    Ok(None) => Outcome::Done,
                    Ok(Some(wait)) => Outcome::After(wait),
                    Err(error) => {
                        tracing::debug!(service = %key, error = %chain(&error), "cannot publish endpoints");
                        Outcome::Retry(error.retry_after())
                    }
                }
            }
        })
        .await;
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, client::Error> {
        let Some(kind) = kinds::index_of("Service") else {
            return Ok(None);
        };
        let service = self
            .engine
            .store(kind)
            .get(key)
            .filter(|s| !s.excluded && s.deletion.is_none());
        let mut again = None;
        for (cluster, object) in self.clusters.all() {
            let wait = match &service {
                Some(service) => self.publish(kind, key, service, cluster.name(), &object).await?,
                None => None,
            };
            again = match (again, wait) {
                (Some(a), Some(b)) => Some(std::cmp::min::<Duration>(a, b)),
                (one, other) => one.or(other),
            };
        }
        self.withdraw(key, service.is_some()).await?;
        Ok(again)
    }

    async fn publish(
        &self,
        kind: kinds::KindIndex,
        key: &Key,
        service: &Federated,
        cluster: &str,
        object: &Object,
    ) -> Result<Option<Duration>, client::Error> {
        let Some(member) = self.members.reachable(cluster) else {
            return Ok(None);
        };
        if !member.store(kind).is_synced() || !member.slices.store.is_synced() {
            return Ok(Some(PERIOD));
        }
        let name = endpoints::slice_name(key, cluster);
        let known = self.published.store.get(&name).and_then(|p| p.hash);
        let Some(copy) = member.store(kind).get(key).filter(|c| c.ours) else {
            if known.is_some() {
                self.federation
                    .delete(&ENDPOINT_SLICES, &name, None, Propagation::Background)
                    .await?;
            }
            return Ok(None);
        };
        let draining = is_drained(object) && self.is_served_elsewhere(key, kind);
        let slice = Self::slice(&member, key, service, object, &copy.observed.status, draining);
        let hash = Hash::of(&slice);
        if known == Some(hash) {
            return Ok(None);
        }
        let now = Instant::now();
        let earliest = self.written.lock().get(&name).map(|last| *last + PERIOD);
        if let Some(wait) = earliest
            .map(|at| at.saturating_duration_since(now))
            .filter(|w| !w.is_zero())
        {
            return Ok(Some(wait));
        }
        self.written.lock().insert(name.clone(), now);
        let mut config = slice;
        config["metadata"]["annotations"][well_known::APPLIED_HASH] = json!(hash.to_string());
        // The type of addresses cannot be changed: another one is another slice.
        match self.federation.apply(&ENDPOINT_SLICES, &name, &config, true).await {
            Err(error) if error.code() == Some(422) && known.is_some() => {
                self.federation
                    .delete(&ENDPOINT_SLICES, &name, None, Propagation::Background)
                    .await?;
                self.federation.apply(&ENDPOINT_SLICES, &name, &config, true).await?;
            }
            result => drop(result?),
        }
        Ok(None)
    }

    /// Whether a cluster that stays has ready endpoints of the Service: only then may others stop serving it.
    fn is_served_elsewhere(&self, key: &Key, kind: kinds::KindIndex) -> bool {
        let serves = |member: &Member| {
            let ours = member.store(kind).get(key).is_some_and(|copy| copy.ours);
            let slices = || member.slices.store.all();
            ours && slices().iter().any(|(_, s)| s.service == *key && s.is_serving())
        };
        self.clusters
            .all()
            .iter()
            .filter(|(_, cluster)| !is_drained(cluster))
            .filter_map(|(name, _)| self.members.reachable(name.name()))
            .any(|member| serves(&member))
    }

    fn slice(member: &Member, key: &Key, service: &Federated, cluster: &Object, reach: &str, draining: bool) -> Object {
        let reach: Object = serde_json::from_str(reach).unwrap_or_default();
        let mut all = member.slices.store.all();
        all.retain(|(_, slice)| slice.service == *key);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let slices: Vec<&Slice> = all.iter().map(|(_, slice)| &**slice).collect();
        let nodes = member.nodes.store.all();
        let nodes: Vec<_> = nodes.iter().map(|(_, node)| &**node).collect();
        endpoints::build(&Reach {
            service: (key, &service.uid),
            cluster,
            member: &reach,
            slices: &slices,
            nodes: &nodes,
            draining,
        })
    }

    /// Takes back what belongs to a Service or to a cluster that is gone.
    async fn withdraw(&self, key: &Key, exists: bool) -> Result<(), client::Error> {
        for (name, slice) in self.published.store.all() {
            let gone = !exists || self.clusters.get(&Key::from(&*slice.cluster)).is_none();
            if slice.service == *key && gone {
                self.federation
                    .delete(&ENDPOINT_SLICES, &name, None, Propagation::Background)
                    .await?;
                self.written.lock().remove(&name);
            }
        }
        Ok(())
    }
}
