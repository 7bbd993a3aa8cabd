//! The cluster controller: keeps a client for every Cluster, probes it, and says how it is.
//!
//! Clusters are probed in parallel, each by its own key, so that a slow one delays nobody. Failures below the threshold
//! change nothing; at the threshold the cluster is Offline.

pub mod nodes;
mod probe;
mod status;

use std::{collections::HashMap, sync::Arc, time::Duration};

use apimachinery::{Object, meta};
use client::{
    Key, Rest, Store,
    error::chain,
    events::{Recorder, Severity, Subject},
    queue::{self, Outcome},
    resources::{CLUSTERS, SECRETS},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use planner::availability::{Availability, Losses, Patience};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::status::Probe;
use crate::{
    hash::Hash,
    members::{Member, Members},
    sync::{Engine, tombstones},
    wake::Wake,
};

/// Clusters in the federation API.
/// A failed probe is repeated this soon, until the threshold.
const QUICK: Duration = Duration::from_secs(2);
/// A status that has not changed is written at most this often, for the time of the last probe.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Probes at the same time.
const CONCURRENCY: usize = 64;

/// Settings of the cluster controller.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time between probes.
    pub period: Duration,
    /// Failed probes in a row that make a cluster Offline.
    pub threshold: u32,
    /// When a cluster is given up, and when it counts again.
    pub patience: Patience,
    /// Namespace of the credentials in the host cluster.
    pub namespace: String,
    /// How long to wait for an answer of a member.
    pub timeout: Duration,
}

/// The cluster controller.
pub struct Clusters {
    federation: Rest,
    host: Option<Rest>,
    federation_uid: String,
    store: Arc<Store<Object>>,
    members: Arc<Members>,
    engine: Arc<Engine>,
    wake: Arc<Wake>,
    recorder: Recorder,
    settings: Settings,
    failures: Mutex<HashMap<String, u32>>,
    losses: Mutex<HashMap<String, Losses>>,
    heartbeats: Mutex<HashMap<String, tokio::time::Instant>>,
}

/// What a [`Clusters`] works with.
pub struct Parts {
    /// The federation API.
    pub federation: Rest,
    /// The host cluster, where credentials are.
    pub host: Option<Rest>,
    /// Uid of the federation.
    pub federation_uid: String,
    /// The Clusters.
    pub store: Arc<Store<Object>>,
    /// The members.
    pub members: Arc<Members>,
    /// Who writes to them.
    pub engine: Arc<Engine>,
    /// The queues.
    pub wake: Arc<Wake>,
    /// Where events go.
    pub recorder: Recorder,
    /// Settings.
    pub settings: Settings,
}

impl Clusters {
    /// A controller that has not started.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            federation: parts.federation,
            host: parts.host,
            federation_uid: parts.federation_uid,
            store: parts.store,
            members: parts.members,
            engine: parts.engine,
            wake: parts.wake,
            recorder: parts.recorder,
            settings: parts.settings,
            failures: Mutex::default(),
            losses: Mutex::default(),
            heartbeats: Mutex::default(),
        })
    }

    /// Probes until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let queue = Arc::clone(&self.wake.clusters);
        queue::run(queue, CONCURRENCY, shutdown, move |name: String| {
            let clusters = Arc::clone(&self);
            async move {
                match clusters.reconcile(&name).await {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        tracing::warn!(cluster = name, error = %chain(&error), "cannot report on a cluster");
                        Outcome::Retry(error.retry_after())
                    }
                }
            }
        })
        .await;
    }

    async fn reconcile(&self, name: &str) -> Result<Outcome, client::Error> {
        let Some(cluster) = self.store.get(&Key::from(name)) else {
            return self.forget(name).await;
        };
        let probe = match self.connect(name, &cluster).await {
            Ok(member) => probe::member(&member).await,
            Err(message) => Probe::Unreachable { message },
        };
        let ready = matches!(probe, Probe::Healthy { .. });
        if ready {
            if self.is_replaced(name).await {
                return Ok(Outcome::After(Duration::ZERO));
            }
            self.count(name).await;
        }
        let now = Timestamp::now();
        let failures = self.failed(name, !ready);
        let known = status::readiness(&cluster);
        // A cluster that was well gets the benefit of the doubt; one we never saw well does not.
        let doubted = !ready && failures < self.settings.threshold && known.is_some_and(|(was_ready, _)| was_ready);
        if doubted {
            self.settle(name, &cluster, true, now);
            return Ok(Outcome::After(QUICK.min(self.settings.period)));
        }
        let availability = self.settle(name, &cluster, ready, now);
        self.write(name, &cluster, &probe, known.map(|(was_ready, _)| was_ready), now)
            .await?;
        if let Some(member) = self.members.reachable(name)
            && let Err(error) = self.engine.bury(&member).await
        {
            tracing::debug!(cluster = name, error = %chain(&error), "cannot carry out postponed deletions yet");
        }
        let deadline = availability.deadline(self.patience(name));
        let until = deadline.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        Ok(Outcome::After(
            until.map_or(self.settings.period, |wait| wait.min(self.settings.period)),
        ))
    }

    /// Whether another cluster has taken the place of a member; all that is known of it is forgotten then.
    async fn is_replaced(&self, name: &str) -> bool {
        let Some(member) = self.members.get(name) else {
            return false;
        };
        let replaced = probe::is_another(&member).await;
        if replaced {
            tracing::warn!(cluster = name, "another cluster answers in its place: reading it anew");
            self.members.remove(name, false);
        }
        replaced
    }

    async fn forget(&self, name: &str) -> Result<Outcome, client::Error> {
        self.members.remove(name, true);
        self.failures.lock().remove(name);
        self.losses.lock().remove(name);
        self.heartbeats.lock().remove(name);
        self.engine.forget_cluster(name);
        tombstones::discard(&self.federation, name).await?;
        Ok(Outcome::Done)
    }

    /// Counts what pods request in a member, if it is time. The first count is waited for, later ones are not.
    async fn count(&self, name: &str) {
        let Some(member) = self.members.get(name).filter(|_| self.engine.rooms.is_due(name)) else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        let counting = async move {
            if let Err(error) = engine.count_room(&member).await {
                tracing::debug!(cluster = &*member.name, error = %chain(&error), "cannot count what pods request");
            }
        };
        if self.engine.rooms.requested(name).is_none() {
            counting.await;
        } else {
            tokio::spawn(counting);
        }
    }

    /// Counts failed probes in a row.
    fn failed(&self, name: &str, failed: bool) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(name.to_owned()).or_insert(0);
        *count = if failed { count.saturating_add(1) } else { 0 };
        *count
    }

    /// How long is waited for a cluster.
    fn patience(&self, name: &str) -> Patience {
        let losses = self.losses.lock();
        losses
            .get(name)
            .map_or(self.settings.patience, |losses| losses.patience(self.settings.patience))
    }

    /// Steps the availability, and wakes everybody if it changed.
    fn settle(&self, name: &str, cluster: &Object, ready: bool, now: Timestamp) -> Availability {
        let patience = self.patience(name);
        let old = self.members.availability(name);
        let new = match old {
            Some(state) => state.step(ready, now, patience),
            None => match status::readiness(cluster) {
                Some((was_ready, since)) => {
                    Availability::resume(was_ready, since, now, patience).step(ready, now, patience)
                }
                None if ready => Availability::Ready,
                None => Availability::Lost,
            },
        };
        self.losses
            .lock()
            .entry(name.to_owned())
            .or_default()
            .note(old, new, now);
        if self.members.set_availability(name, new) != Some(new) {
            tracing::info!(cluster = name, ?old, ?new, "availability changed");
            self.tell(name, cluster, old, new);
            self.engine.availability_changed(name);
            self.wake.all_services();
        }
        new
    }

    fn tell(&self, name: &str, cluster: &Object, old: Option<Availability>, new: Availability) {
        let (severity, reason, text) = match new {
            Availability::Ready if old.is_none() => return,
            Availability::Ready => (
                Severity::Normal,
                "ClusterBack",
                "the cluster counts again; it gets its share",
            ),
            Availability::Unreachable { .. } => (
                Severity::Warning,
                "ClusterNotReachable",
                "the cluster does not answer; its share is kept for now",
            ),
            Availability::Lost => (
                Severity::Warning,
                "ClusterLost",
                "the cluster is given up; its share runs elsewhere",
            ),
            Availability::Returning { .. } => (
                Severity::Normal,
                "ClusterReturning",
                "the cluster answers again; its share returns when it has been well for a while",
            ),
        };
        let subject = Subject {
            resource: CLUSTERS,
            key: Key::from(name),
            uid: meta::uid(cluster).to_owned(),
        };
        self.recorder.record(subject, severity, reason, text);
    }

    async fn write(
        &self,
        name: &str,
        cluster: &Object,
        probe: &Probe,
        was_ready: Option<bool>,
        now: Timestamp,
    ) -> Result<(), client::Error> {
        let old = &cluster["status"];
        let mut new = status::after(old, probe, now);
        if let Some(requested) = self.engine.rooms.requested(name) {
            new["requested"] = status::amounts(requested);
        }
        let due = self
            .heartbeats
            .lock()
            .get(name)
            .is_none_or(|last| last.elapsed() >= HEARTBEAT);
        if !status::differs(old, &new) && !due {
            return Ok(());
        }
        let ready = matches!(probe, Probe::Healthy { .. });
        if was_ready != Some(ready) {
            tracing::info!(cluster = name, ready, remark = probe.remark(), "readiness changed");
        }
        let patch = json!({"metadata": {"uid": meta::uid(cluster)}, "status": new});
        match self
            .federation
            .merge(&CLUSTERS, &Key::from(name), "/status", &patch)
            .await
        {
            Ok(object) => {
                let version = meta::resource_version(&object).parse().unwrap_or(0);
                self.store.observe(&Key::from(name), version, object);
            }
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        self.heartbeats
            .lock()
            .insert(name.to_owned(), tokio::time::Instant::now());
        Ok(())
    }

    /// The member of a Cluster: the one there is, or a new one if address or credentials have changed.
    async fn connect(&self, name: &str, cluster: &Object) -> Result<Arc<Member>, String> {
        let secret = match cluster["spec"]["secretRef"]["name"].as_str().filter(|n| !n.is_empty()) {
            None => None,
            Some(secret) => match self.secret(secret).await {
                Ok(found) => Some(found),
                // The host not answering does not make its members unreachable.
                Err(problem) => return self.members.get(name).ok_or(problem),
            },
        };
        let data = secret.as_ref().map(|s| &s["data"]);
        let fingerprint = Hash::of(&json!([
            cluster["metadata"]["uid"],
            cluster["spec"]["serverAddressByClientCIDRs"],
            data
        ]));
        if let Some(member) = self.members.get(name)
            && member.fingerprint == fingerprint
        {
            return Ok(member);
        }
        let from = client::member::local_address(cluster);
        let rest = match client::member::connect(cluster, secret.as_ref(), from).await {
            Ok(rest) => rest.with_timeout(self.settings.timeout),
            Err(error) => {
                self.members.remove(name, false);
                return Err(chain(&error));
            }
        };
        let member = Member::start(name, rest, fingerprint, &self.federation_uid, &self.wake);
        self.members.replace(Arc::clone(&member));
        self.engine.attach(&member);
        self.wake.all_services();
        Ok(member)
    }

    async fn secret(&self, secret: &str) -> Result<Object, String> {
        let Some(host) = &self.host else {
            return Err(format!(
                "secret {secret} cannot be read: this controller manager was given no host cluster"
            ));
        };
        let key = Key::new(Some(&self.settings.namespace), secret);
        host.get(&SECRETS, &key).await.map_err(|error| {
            format!(
                "cannot read secret {secret} in namespace {} of the host cluster: {}",
                self.settings.namespace,
                chain(&error)
            )
        })
    }
}
