//! The member clusters that can be talked to: clients, what is known of their objects, and their work queues.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::well_known;
use apimachinery::{Object, meta};
use client::{
    Informer, Key, Queue, Rest, Store,
    informer::{Change, Scope},
    resources::{AUTOSCALERS, ENDPOINT_SLICES, NODES},
};
use parking_lot::{Mutex, RwLock};
use planner::{availability::Availability, placement::Full};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::nodes::{self, Node},
    hash::Hash,
    service::endpoints::{self, Slice},
    sync::{
        SyncKey,
        kinds::{self, KindIndex},
        observe::{self, Copy},
        pods::Pending,
    },
    wake::Wake,
};

/// A cluster that had no room for some replicas of a workload is not asked to take more for this long.
const FULL_FOR: Duration = Duration::from_secs(300);

/// A member cluster. Its watches and workers end when it is stopped.
pub struct Member {
    /// Name of its Cluster object.
    pub name: Arc<str>,
    /// Its API server.
    pub rest: Rest,
    /// Hash of address and credentials: another one needs another member.
    pub fingerprint: Hash,
    /// Our objects in it, per kind.
    pub copies: Vec<Informer<Copy>>,
    /// Its nodes.
    pub nodes: Informer<Node>,
    /// What its autoscalers scale, as `Kind/name`.
    pub autoscalers: Informer<Box<str>>,
    /// Its EndpointSlices.
    pub slices: Informer<Slice>,
    /// What has to be written to it.
    pub queue: Arc<Queue<SyncKey>>,
    /// Uid of its namespace `kube-system`, once it has been read: who it is, whatever its address.
    pub identity: OnceLock<String>,
    /// Ends its watches and workers.
    pub stop: CancellationToken,
    /// The hash of the owned fields after our last write; a different one means that somebody took some.
    expected: Mutex<HashMap<SyncKey, u64>>,
    /// Why an object cannot be brought to it, in words.
    problems: Mutex<HashMap<SyncKey, String>>,
    /// Pods that wait, of workloads that are not all ready.
    pending: Mutex<HashMap<SyncKey, Pending>>,
    /// Replicas of a workload that fitted when last some did not, and until when that is believed.
    full: Mutex<HashMap<SyncKey, (Full, Instant)>>,
    /// When the server asked for a pause: until when.
    paused: Mutex<Option<Instant>>,
}

impl Member {
    /// Starts watching a member.
    #[must_use]
    pub fn start(name: &str, rest: Rest, fingerprint: Hash, federation_uid: &str, wake: &Arc<Wake>) -> Arc<Self> {
        let label = format!("{}={}", well_known::MANAGED_BY, well_known::MANAGED_BY_VALUE);
        let queue: Arc<Queue<SyncKey>> = Arc::default();
        let copies = (0..).zip(kinds::all()).map(|(index, kind): (KindIndex, _)| {
            let (wake, queue, uid) = (Arc::clone(wake), Arc::clone(&queue), federation_uid.to_owned());
            Informer::start(
                rest.clone(),
                Scope::labelled(kind.resource(), &label),
                move |object| Some(observe::copy(*kind, &object, &uid)),
                move |change: Change<'_, Copy>| wake.copy_changed(index, &queue, &change),
            )
        });
        let (cluster, waker) = (name.to_owned(), Arc::clone(wake));
        let nodes = Informer::start(
            rest.clone(),
            Scope::all(NODES),
            |object| Some(nodes::reduce(&object)),
            move |change: Change<'_, Node>| waker.node_changed(&cluster, &change),
        );
        let waker = Arc::clone(wake);
        let autoscalers = Informer::start(
            rest.clone(),
            Scope::all(AUTOSCALERS),
            |object| {
                let target = &object["spec"]["scaleTargetRef"];
                Some(format!("{}/{}", target["kind"].as_str()?, target["name"].as_str()?).into())
            },
            move |change: Change<'_, Box<str>>| waker.autoscaler_changed(&change),
        );
        let waker = Arc::clone(wake);
        let slices = Informer::start(
            rest.clone(),
            Scope::labelled(ENDPOINT_SLICES, well_known::LABEL_SERVICE_NAME),
            |object| endpoints::reduce(&object),
            move |change: Change<'_, Slice>| waker.slice_changed(&change),
        );
        Arc::new(Self {
            name: name.into(),
            copies: copies.collect(),
            nodes,
            autoscalers,
            slices,
            queue,
            identity: OnceLock::new(),
            stop: CancellationToken::new(),
            expected: Mutex::default(),
            problems: Mutex::default(),
            pending: Mutex::default(),
            full: Mutex::default(),
            paused: Mutex::default(),
            rest,
            fingerprint,
        })
    }

    /// Our objects of a kind.
    #[must_use]
    pub fn store(&self, kind: KindIndex) -> &Store<Copy> {
        &self.copies[usize::from(kind)].store
    }

    /// Whether our objects in it have been listed, of all kinds that can be.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.copies
            .iter()
            .all(|copies| copies.store.is_synced() || copies.store.problem().is_some())
    }

    /// Whether one of the member's autoscalers scales the object.
    #[must_use]
    pub fn is_autoscaled(&self, kind: &str, key: &Key) -> bool {
        let target = format!("{kind}/{}", key.name());
        let found = self.autoscalers.store.find_in(key.namespace(), |t| **t == *target);
        found.is_some()
    }

    /// Takes an answer to a write of ours: what is known now, and which fields we own from here on.
    pub fn wrote(&self, key: &SyncKey, object: &Object, federation_uid: &str) {
        let kind = kinds::all()[usize::from(key.0)];
        let copy = observe::copy(kind, object, federation_uid);
        self.expected.lock().insert(key.clone(), copy.owned);
        let version = meta::resource_version(object).parse().unwrap_or(0);
        self.store(key.0).observe(&key.1, version, copy);
    }

    /// Whether a copy has what was applied last, and nobody has taken any of it.
    #[must_use]
    pub fn is_untouched(&self, key: &SyncKey, copy: &Copy) -> bool {
        let mut expected = self.expected.lock();
        match expected.get(key) {
            Some(owned) => *owned == copy.owned,
            // From before our start: if nobody has written since the federation did, it is as it was.
            None if !copy.touched => {
                expected.insert(key.clone(), copy.owned);
                true
            }
            None => false,
        }
    }

    /// Forgets an object that is no longer federated.
    pub fn forget(&self, key: &SyncKey) {
        self.expected.lock().remove(key);
        self.problems.lock().remove(key);
        self.pending.lock().remove(key);
        self.full.lock().remove(key);
    }

    /// Notes why an object cannot be brought here, or that it can. Returns whether that is new.
    pub fn set_problem(&self, key: &SyncKey, problem: Option<&str>) -> bool {
        let mut problems = self.problems.lock();
        match problem {
            None => problems.remove(key).is_some(),
            Some(text) => problems
                .insert(key.clone(), text.to_owned())
                .is_none_or(|old| old != text),
        }
    }

    /// Why an object cannot be brought here.
    #[must_use]
    pub fn problem(&self, key: &SyncKey) -> Option<String> {
        self.problems.lock().get(key).cloned()
    }

    /// The pods of a workload that wait, when last counted.
    #[must_use]
    pub fn pending(&self, key: &SyncKey) -> Option<Pending> {
        self.pending.lock().get(key).cloned()
    }

    /// Remembers the pods that wait; `None` when all are ready. Returns what was known before.
    pub fn set_pending(&self, key: &SyncKey, pending: Option<Pending>) -> Option<Pending> {
        let mut all = self.pending.lock();
        match pending {
            Some(pending) => all.insert(key.clone(), pending),
            None => all.remove(key),
        }
    }

    /// How many replicas of a workload fitted when last some did not; `None` once that is long ago.
    #[must_use]
    pub fn full(&self, key: &SyncKey) -> Option<Full> {
        let mut all = self.full.lock();
        all.retain(|_, (_, until)| *until > Instant::now());
        all.get(key).map(|(full, _)| full.clone())
    }

    /// Remembers for a while how many replicas of a workload fit.
    pub fn set_full(&self, key: &SyncKey, full: Full) {
        self.full.lock().insert(key.clone(), (full, Instant::now() + FULL_FOR));
    }

    /// Asks all workers of this member to wait until then.
    pub fn pause_until(&self, until: Instant) {
        let mut paused = self.paused.lock();
        *paused = Some(paused.map_or(until, |earlier| earlier.max(until)));
    }

    /// Until when the member asked us to wait.
    #[must_use]
    pub fn paused(&self) -> Option<Instant> {
        self.paused.lock().filter(|until| *until > Instant::now())
    }
}

/// All members, and how each counts.
#[derive(Default)]
pub struct Members {
    all: RwLock<BTreeMap<Arc<str>, Arc<Member>>>,
    availability: RwLock<BTreeMap<String, Availability>>,
}

impl Members {
    /// A member by name; none if there are no usable credentials for it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.all.read().get(name).cloned()
    }

    /// All members.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.all.read().values().cloned().collect()
    }

    /// Whether the copies in every member that answers have been listed, as far as they can be.
    #[must_use]
    pub fn are_listed(&self) -> bool {
        let answering = |member: &Arc<Member>| self.reachable(&member.name).is_some();
        self.all()
            .iter()
            .filter(|member| answering(member))
            .all(|member| member.is_listed())
    }

    /// Puts a member in the place of its predecessor, which is stopped.
    pub fn replace(&self, member: Arc<Member>) {
        let old = self.all.write().insert(Arc::clone(&member.name), member);
        if let Some(old) = old {
            old.stop.cancel();
        }
    }

    /// Stops a member and forgets it; with its availability if the cluster is gone.
    pub fn remove(&self, name: &str, forget: bool) {
        if let Some(member) = self.all.write().remove(name) {
            member.stop.cancel();
        }
        if forget {
            self.availability.write().remove(name);
        }
    }

    /// How a cluster counts; none before its first probe.
    #[must_use]
    pub fn availability(&self, name: &str) -> Option<Availability> {
        self.availability.read().get(name).copied()
    }

    /// Sets how a cluster counts. Returns what it was.
    pub fn set_availability(&self, name: &str, availability: Availability) -> Option<Availability> {
        self.availability.write().insert(name.to_owned(), availability)
    }

    /// The member, if it can be written to now.
    #[must_use]
    pub fn reachable(&self, name: &str) -> Option<Arc<Member>> {
        self.availability(name).filter(|a| a.is_reachable())?;
        self.get(name)
    }
}
