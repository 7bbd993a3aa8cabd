//! Looking at one federated object: what is, what shall be, who has to do something.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use api::well_known;
use apimachinery::{Object, meta};
use client::{
    Informer, Key, Rest, Store,
    error::chain,
    events::{Recorder, Severity, Subject},
    informer::{Change, Scope},
    queue::{self, Outcome},
};
use parking_lot::Mutex;
use planner::{Share, placement::Placement};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    SyncKey,
    federated::{self, Bodies, Federated},
    kinds::{self, Kind, KindIndex, Scaling},
    observe::Copy,
    payload,
    returns::Returns,
    rooms::Rooms,
};
use crate::{
    hash::Hash,
    members::{Member, Members},
    metrics::SyncMetrics,
    wake::Wake,
};

/// Bytes of payloads kept for writes that are about to come: a burst of a few thousand small objects.
const BODIES: usize = 8 << 20;
/// Everything is looked at again this often, whether or not something changed.
const RESYNC: Duration = Duration::from_secs(600);
/// Pods that wait are counted again this often.
pub(super) const RECOUNT: Duration = Duration::from_secs(10);

/// Settings of the sync controller.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Objects planned, and objects written per member, at the same time.
    pub concurrency: usize,
    /// How long a pod may be unschedulable before its replica moves elsewhere.
    pub unschedulable_after: Duration,
    /// Objects per second whose shares go back to a cluster that was lost; 0 is all at once.
    pub returns_per_second: u32,
}

/// The sync controller.
pub struct Engine {
    pub(super) federation: Rest,
    pub(super) uid: String,
    pub(super) clusters: Arc<Store<Object>>,
    pub(super) members: Arc<Members>,
    pub(super) wake: Arc<Wake>,
    pub(super) recorder: Recorder,
    pub(super) settings: Settings,
    pub(super) bodies: Arc<Bodies>,
    pub(super) metrics: SyncMetrics,
    /// What room the members have.
    pub(crate) rooms: Rooms,
    /// What is owed to clusters that were lost.
    pub(super) returns: Returns,
    federated: Vec<Informer<Federated>>,
    pub(super) placements: Mutex<HashMap<SyncKey, Arc<Placement>>>,
    pub(super) removed: Mutex<HashMap<SyncKey, Removed>>,
    pub(super) reported: Mutex<HashMap<SyncKey, tokio::time::Instant>>,
}

/// The uid of an object that is being deleted, and the clusters where nothing of it is left.
pub(super) type Removed = (Box<str>, BTreeSet<String>);

/// What an [`Engine`] works with.
pub struct Parts {
    /// The federation API.
    pub federation: Rest,
    /// Uid of the federation.
    pub uid: String,
    /// Its Clusters.
    pub clusters: Arc<Store<Object>>,
    /// The members.
    pub members: Arc<Members>,
    /// The queues.
    pub wake: Arc<Wake>,
    /// Where events go.
    pub recorder: Recorder,
    /// Settings.
    pub settings: Settings,
    /// Counters.
    pub metrics: SyncMetrics,
}

impl Engine {
    /// Starts watching the federated objects. Nothing is done before [`Engine::run`].
    #[must_use]
    pub fn start(parts: Parts) -> Arc<Self> {
        let bodies = Arc::new(Bodies::new(BODIES));
        let informers = (0..).zip(kinds::all()).map(|(index, kind): (KindIndex, _)| {
            let (wake, bodies) = (Arc::clone(&parts.wake), Arc::clone(&bodies));
            Informer::start(
                parts.federation.clone(),
                Scope::all(kind.resource()),
                move |object| Some(federated::reduce(index, *kind, object, &bodies)),
                move |change: Change<'_, Federated>| wake.federated_changed(index, &change),
            )
        });
        let federated: Vec<_> = informers.collect();
        parts
            .wake
            .set_federated(federated.iter().map(|i| Arc::clone(&i.store)).collect());
        Arc::new(Self {
            federation: parts.federation,
            uid: parts.uid,
            clusters: parts.clusters,
            members: parts.members,
            wake: parts.wake,
            recorder: parts.recorder,
            settings: parts.settings,
            metrics: parts.metrics,
            bodies,
            rooms: Rooms::default(),
            returns: Returns::default(),
            federated,
            placements: Mutex::default(),
            removed: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    /// Plans until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let resync = async {
            loop {
                tokio::time::sleep(RESYNC).await;
                self.wake.all_objects();
            }
        };
        let give_back = async {
            match self.settings.returns_per_second {
                0 => std::future::pending().await,
                rate => self.give_back(Duration::from_secs(1) / rate).await,
            }
        };
        let engine = Arc::clone(&self);
        let plan = queue::run(
            Arc::clone(&self.wake.plan),
            self.settings.concurrency,
            shutdown.clone(),
            move |key: SyncKey| {
                let engine = Arc::clone(&engine);
                async move { engine.reconcile(&key).await }
            },
        );
        tokio::select! {
            () = resync => {}
            () = give_back => {}
            () = plan => {}
        }
    }

    /// Starts writing to a member, until it is stopped.
    pub fn attach(self: &Arc<Self>, member: &Arc<Member>) {
        let (engine, target) = (Arc::clone(self), Arc::clone(member));
        let writes = queue::run(
            Arc::clone(&member.queue),
            self.settings.concurrency,
            member.stop.clone(),
            move |key: SyncKey| {
                let (engine, member) = (Arc::clone(&engine), Arc::clone(&target));
                async move { engine.write(&member, &key).await }
            },
        );
        tokio::spawn(writes);
        // What is there is only known once it has been listed.
        let (engine, member) = (Arc::clone(self), Arc::clone(member));
        tokio::spawn(async move {
            for (index, informer) in (0..).zip(&member.copies) {
                tokio::select! {
                    () = member.stop.cancelled() => return,
                    () = informer.store.synced() => engine.compare(&member, index),
                }
            }
        });
    }

    /// Has every object of a kind looked at of which a member may have something to do or to tell.
    fn compare(&self, member: &Member, kind: KindIndex) {
        for (name, federated) in self.store(kind).all() {
            let key = (kind, name);
            if federated.deletion.is_some() || kinds::concerns_all(kind) {
                self.wake.plan.add(key);
            } else if self.needs_writing(member, &key, &federated) {
                member.queue.add(key);
            }
        }
    }

    /// Has everything looked at that depends on how a cluster counts.
    pub(crate) fn availability_changed(&self, cluster: &str) {
        let member = self.members.reachable(cluster);
        for (kind, _) in (0..).zip(kinds::all()) {
            match &member {
                Some(member) => self.compare(member, kind),
                None if kinds::concerns_all(kind) => self.wake.all_of(kind),
                None => {}
            }
        }
    }

    /// Federated objects of a kind.
    pub(crate) fn store(&self, kind: KindIndex) -> &Store<Federated> {
        &self.federated[usize::from(kind)].store
    }

    pub(super) fn kind(key: &SyncKey) -> &'static dyn Kind {
        kinds::all()[usize::from(key.0)]
    }

    pub(super) fn subject(key: &SyncKey, federated: &Federated) -> Subject {
        Subject {
            resource: Self::kind(key).resource(),
            key: key.1.clone(),
            uid: federated.uid.to_string(),
        }
    }

    pub(super) fn event(
        &self,
        key: &SyncKey,
        federated: &Federated,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.recorder
            .record(Self::subject(key, federated), severity, reason, message);
    }

    /// What the last plan said of an object.
    pub(super) fn placement(&self, key: &SyncKey) -> Option<Arc<Placement>> {
        self.placements.lock().get(key).cloned()
    }

    /// What a member is to have of an object: its share and the hash of what is to be applied; `None` is nothing.
    pub(super) fn target(&self, key: &SyncKey, federated: &Federated, cluster: &str) -> Option<(Share, Hash)> {
        let object = self.clusters.get(&Key::from(cluster))?;
        self.target_in(key, federated, cluster, &object)
    }

    /// The same of a Cluster object that is at hand.
    pub(super) fn target_in(
        &self,
        key: &SyncKey,
        federated: &Federated,
        cluster: &str,
        object: &Object,
    ) -> Option<(Share, Hash)> {
        let labels = &object["metadata"]["labels"];
        let share = match Self::kind(key).scaling() {
            Scaling::Copy => federated.selects(labels).then(Share::default)?,
            Scaling::Replicas { .. } | Scaling::Job { .. } | Scaling::Autoscaler { .. } => {
                *self.placement(key)?.shares.get(cluster)?
            }
        };
        let differences = self.differences(federated, cluster);
        Some((share, payload::applied_hash(federated.payload, &share, &differences)))
    }

    async fn reconcile(&self, key: &SyncKey) -> Outcome {
        let started = tokio::time::Instant::now();
        let result = self.plan(key).await;
        self.metrics
            .planned(Self::kind(key).resource().kind, started.elapsed(), result.is_err());
        match result {
            Ok(outcome) => outcome,
            Err(error) => {
                if !error.is_conflict() && !error.is_not_found() {
                    tracing::warn!(kind = Self::kind(key).resource().kind, object = %key.1, error = %chain(&error), "cannot plan");
                }
                Outcome::Retry(error.retry_after())
            }
        }
    }

    async fn plan(&self, key: &SyncKey) -> Result<Outcome, client::Error> {
        let Some(federated) = self.store(key.0).get(&key.1) else {
            self.forget(key);
            return Ok(Outcome::Done);
        };
        if federated.excluded {
            if federated.has_finalizer() {
                self.set_finalizer(key, &federated, false).await?;
            }
            return Ok(Outcome::Done);
        }
        if federated.deletion.is_some() {
            return self.remove(key, &federated).await;
        }
        if !federated.has_finalizer() {
            // Goes on with the answer, or with the watch event if that is faster.
            self.set_finalizer(key, &federated, true).await?;
            return Ok(Outcome::After(Duration::ZERO));
        }
        if let Err(problem) = &federated.selector {
            let text = format!("the cluster selector cannot be read, so nothing is changed anywhere: {problem}");
            self.event(key, &federated, Severity::Warning, "InvalidClusterSelector", text);
            return Ok(Outcome::Done);
        }
        if let Err(problem) = &federated.overrides {
            let text = format!("the overrides cannot be read, so nothing is changed anywhere: {problem}");
            self.event(key, &federated, Severity::Warning, "InvalidOverrides", text);
            return Ok(Outcome::Done);
        }
        self.place(key, &federated);
        for cluster in self.clusters.keys() {
            let Some(member) = self.members.reachable(cluster.name()) else {
                continue;
            };
            if self.needs_writing(&member, key, &federated) || self.needs_counting(&member, key, &federated) {
                member.queue.add(key.clone());
            }
        }
        self.follow_autoscaler(key, &federated).await?;
        let again = self.report(key, &federated).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }

    /// Whether a copy is exactly what it shall be.
    pub(super) fn is_current(member: &Member, key: &SyncKey, copy: &Copy, hash: Hash) -> bool {
        copy.ours && !copy.deleting && copy.applied == Some(hash) && member.is_untouched(key, copy)
    }

    fn needs_writing(&self, member: &Member, key: &SyncKey, federated: &Federated) -> bool {
        let copy = member.store(key.0).get(&key.1);
        match (self.target(key, federated, &member.name), copy) {
            (Some((_, hash)), Some(copy)) => !Self::is_current(member, key, &copy, hash),
            (Some(_), None) => true,
            (None, copy) => copy.is_some_and(|c| c.ours && !c.deleting),
        }
    }

    /// Whether pods of a copy that is not all ready ought to be counted (again).
    pub(super) fn needs_counting(&self, member: &Member, key: &SyncKey, federated: &Federated) -> bool {
        if !matches!(Self::kind(key).scaling(), Scaling::Replicas { .. }) || federated.deletion.is_some() {
            return false;
        }
        let short = member
            .store(key.0)
            .get(&key.1)
            .is_some_and(|c| c.observed.replicas.is_some_and(|r| r > c.observed.ready));
        match member.pending(key) {
            None => short,
            Some(pending) => !short || pending.counted.elapsed() >= RECOUNT,
        }
    }

    /// Counts what the pods of a member request, and plans again what found too little room.
    ///
    /// # Errors
    /// If the member cannot be asked.
    pub(crate) async fn count_room(&self, member: &Member) -> Result<(), client::Error> {
        let ready = |key: &SyncKey| member.store(key.0).get(&key.1).map_or(0, |copy| copy.observed.ready);
        self.rooms.count(&member.name, &member.rest, ready).await?;
        for key in self.rooms.short() {
            self.wake.plan.add(key);
        }
        Ok(())
    }

    pub(super) async fn set_finalizer(
        &self,
        key: &SyncKey,
        federated: &Federated,
        wanted: bool,
    ) -> Result<(), client::Error> {
        let ours = well_known::FINALIZER_DELETE_FROM_CLUSTERS;
        let mut finalizers: Vec<&str> = federated
            .finalizers
            .iter()
            .map(|f| &**f)
            .filter(|f| *f != ours)
            .collect();
        if wanted {
            finalizers.push(ours);
        }
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": &*federated.version, "uid": &*federated.uid}});
        let resource = Self::kind(key).resource();
        let object = match self.federation.merge(&resource, &key.1, "", &patch).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        if meta::is_being_deleted(&object) && !wanted {
            return Ok(());
        }
        self.wrote(key, object);
        Ok(())
    }

    /// Takes the answer to a write of ours to a federated object, which the watch may bring later.
    pub(super) fn wrote(&self, key: &SyncKey, object: Object) {
        let version = meta::resource_version(&object).parse().unwrap_or(0);
        let reduced = federated::reduce(key.0, Self::kind(key), object, &self.bodies);
        self.store(key.0).observe(&key.1, version, reduced);
    }

    /// Forgets a cluster that has left.
    pub(crate) fn forget_cluster(&self, cluster: &str) {
        self.rooms.forget_cluster(cluster);
        self.returns.forget_cluster(cluster);
    }

    fn forget(&self, key: &SyncKey) {
        self.placements.lock().remove(key);
        self.removed.lock().remove(key);
        self.reported.lock().remove(key);
        self.rooms.forget(key);
        self.returns.forget(key);
        for member in self.members.all() {
            member.forget(key);
        }
    }
}
