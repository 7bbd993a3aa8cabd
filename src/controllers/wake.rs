//! Who has to look at what, when something changes. All of it is level-triggered: a wake-up carries a key, never a
//! change, and waking too often costs only time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use apimachinery::Object;
use client::{Key, Queue, Store, informer::Change};
use parking_lot::Mutex;

use crate::{
    cluster::nodes::Node,
    history,
    service::endpoints::Slice,
    sync::{
        SyncKey,
        federated::Federated,
        kinds::{self, KindIndex},
        observe::Copy,
    },
};

/// An object's copies in many clusters change together: they are looked at together.
const BATCH: Duration = Duration::from_millis(10);

/// The queues of all controllers.
#[derive(Default)]
pub struct Wake {
    /// Federated objects to plan.
    pub plan: Arc<Queue<SyncKey>>,
    /// Clusters to probe.
    pub clusters: Arc<Queue<String>>,
    /// Services whose endpoints to publish.
    pub services: Arc<Queue<Key>>,
    /// Deployments whose revisions to record.
    pub history: Arc<Queue<Key>>,
    federated: OnceLock<Vec<Arc<Store<Federated>>>>,
    /// Who is rolled when a ConfigMap or Secret changes.
    users: Mutex<HashMap<SyncKey, HashSet<SyncKey>>>,
}

fn service_kind() -> Option<KindIndex> {
    kinds::index_of("Service")
}

impl Wake {
    /// Tells it the federated objects, once.
    pub fn set_federated(&self, stores: Vec<Arc<Store<Federated>>>) {
        // A second call would be a mistake of ours and changes nothing.
        let _ = self.federated.set(stores);
    }

    fn stores(&self) -> &[Arc<Store<Federated>>] {
        self.federated.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// A federated object changed.
    pub fn federated_changed(&self, kind: KindIndex, change: &Change<'_, Federated>) {
        self.plan.add((kind, change.key.clone()));
        self.index_configs(&(kind, change.key.clone()), change);
        for target in [change.old, change.new]
            .into_iter()
            .flatten()
            .filter_map(|o| o.scales.clone())
        {
            self.plan.add(target);
        }
        if Some(kind) == service_kind() {
            self.services.add(change.key.clone());
        }
        if Some(kind) == kinds::index_of("Deployment") {
            self.history.add_after(change.key.clone(), history::DELAY);
        }
    }

    fn index_configs(&self, user: &SyncKey, change: &Change<'_, Federated>) {
        let of = |object: Option<&Arc<Federated>>| object.map(|o| o.configs.clone()).unwrap_or_default();
        let (old, new) = (of(change.old), of(change.new));
        if old == new {
            return;
        }
        let mut users = self.users.lock();
        for config in old {
            if let Some(all) = users.get_mut(&config) {
                all.remove(user);
                if all.is_empty() {
                    users.remove(&config);
                }
            }
        }
        for config in new {
            users.entry(config).or_default().insert(user.clone());
        }
    }

    /// A copy in a member changed; `member` is the queue of what is to be written there.
    pub fn copy_changed(&self, kind: KindIndex, member: &Queue<SyncKey>, change: &Change<'_, Copy>) {
        // Labelled objects that no federated object asks for are nobody's business: never delete on suspicion.
        // All that are listed first are looked at when the list is complete.
        let federated = self.stores().get(usize::from(kind)).and_then(|s| s.get(change.key));
        if let Some(federated) = federated.filter(|_| change.listed) {
            let key = (kind, change.key.clone());
            if federated.deletion.is_some() || kinds::concerns_all(kind) {
                self.plan.add_after(key, BATCH);
            } else {
                member.add(key);
            }
        }
        for user in self.users.lock().get(&(kind, change.key.clone())).into_iter().flatten() {
            self.plan.add(user.clone());
        }
        if Some(kind) == service_kind() {
            self.services.add(change.key.clone());
        }
    }

    /// A member's EndpointSlice changed.
    pub fn slice_changed(&self, change: &Change<'_, Slice>) {
        for slice in [change.old, change.new].into_iter().flatten() {
            self.services.add(slice.service.clone());
        }
    }

    /// A member's autoscaler changed.
    pub fn autoscaler_changed(&self, change: &Change<'_, Box<str>>) {
        for target in [change.old, change.new].into_iter().flatten() {
            if let Some((kind, name)) = target.split_once('/')
                && let Some(index) = kinds::index_of(kind)
            {
                self.plan.add((index, Key::new(change.key.namespace(), name)));
            }
        }
    }

    /// A member's node changed.
    pub fn node_changed(&self, cluster: &str, change: &Change<'_, Node>) {
        let place =
            |node: Option<&Arc<Node>>| node.map(|n| (n.usable, n.address.clone(), n.region.clone(), n.zone.clone()));
        if place(change.old) != place(change.new) {
            self.clusters.add(cluster.to_owned());
            self.all_services();
        }
    }

    /// A Cluster object changed.
    pub fn cluster_changed(&self, change: &Change<'_, Object>) {
        let spec = |object: Option<&Arc<Object>>| object.map(|o| (o["spec"].clone(), o["metadata"]["labels"].clone()));
        if spec(change.old) != spec(change.new) {
            self.clusters.add(change.key.name().to_owned());
            self.all_objects();
        }
    }

    /// Everything has to be planned again.
    pub fn all_objects(&self) {
        for (kind, _) in (0..).zip(self.stores()) {
            self.all_of(kind);
        }
        self.all_services();
    }

    /// Every object of a kind has to be planned again.
    pub fn all_of(&self, kind: KindIndex) {
        for key in self
            .stores()
            .get(usize::from(kind))
            .map(|s| s.keys())
            .unwrap_or_default()
        {
            self.plan.add((kind, key));
        }
    }

    /// The endpoints of every Service have to be published again.
    pub fn all_services(&self) {
        if let Some(store) = service_kind().and_then(|kind| self.stores().get(usize::from(kind))) {
            for key in store.keys() {
                self.services.add(key);
            }
        }
    }

    /// Whether all federated objects have been listed.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        !self.stores().is_empty() && self.stores().iter().all(|s| s.is_synced())
    }
}
