//! Shares go back to a cluster that was lost a few at a time, those that left first.
//!
//! A cluster that is back is cold: it pulls images, fills caches, and what broke it may be there still. An object whose
//! share has not had its turn is planned as if the cluster were still returning: its replicas stay where they are.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use parking_lot::Mutex;

use super::{SyncKey, engine::Engine};
use crate::members::Members;
use planner::availability::Availability;

/// The objects whose shares clusters are owed.
#[derive(Default)]
pub(super) struct Returns(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    debts: HashMap<String, Debts>,
    sequence: u64,
}

#[derive(Default)]
struct Debts {
    in_order: BTreeMap<u64, SyncKey>,
    places: HashMap<SyncKey, u64>,
}

impl Debts {
    fn remove(&mut self, key: &SyncKey) {
        if let Some(place) = self.places.remove(key) {
            self.in_order.remove(&place);
        }
    }
}

impl Returns {
    /// Notes that an object's share is planned away from a cluster. The first time counts.
    pub(super) fn owe(&self, cluster: &str, key: &SyncKey) {
        let inner = &mut *self.0.lock();
        let debts = inner.debts.entry(cluster.to_owned()).or_default();
        if !debts.places.contains_key(key) {
            inner.sequence += 1;
            debts.places.insert(key.clone(), inner.sequence);
            debts.in_order.insert(inner.sequence, key.clone());
        }
    }

    /// Whether an object's share still waits for its turn.
    pub(super) fn owes(&self, cluster: &str, key: &SyncKey) -> bool {
        self.0
            .lock()
            .debts
            .get(cluster)
            .is_some_and(|debts| debts.places.contains_key(key))
    }

    /// The objects whose turn it is: the oldest of each cluster that takes its share again.
    fn next(&self, members: &Members) -> Vec<SyncKey> {
        let mut inner = self.0.lock();
        let back = inner
            .debts
            .iter_mut()
            .filter(|(cluster, _)| members.availability(cluster) == Some(Availability::Ready));
        let next = back.filter_map(|(_, debts)| {
            let (_, key) = debts.in_order.pop_first()?;
            debts.places.remove(&key);
            Some(key)
        });
        let next = next.collect();
        inner.debts.retain(|_, debts| !debts.in_order.is_empty());
        next
    }

    /// Forgets an object.
    pub(super) fn forget(&self, key: &SyncKey) {
        self.0.lock().debts.values_mut().for_each(|debts| debts.remove(key));
    }

    /// Forgets a cluster.
    pub(super) fn forget_cluster(&self, cluster: &str) {
        self.0.lock().debts.remove(cluster);
    }
}

impl Engine {
    /// Gives clusters that are back one share each after every pause.
    pub(super) async fn give_back(&self, pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            for key in self.returns.next(&self.members) {
                self.wake.plan.add(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use client::Key;

    use super::*;

    #[test]
    fn the_oldest_debt_of_every_cluster_that_is_back_is_next() {
        let key = |name: &str| (0, Key::from(name));
        let (returns, members) = (Returns::default(), Members::default());
        for (cluster, name) in [("eu", "b"), ("eu", "a"), ("us", "c"), ("eu", "b")] {
            returns.owe(cluster, &key(name));
        }
        assert!(returns.next(&members).is_empty(), "nobody is back");
        members.set_availability("eu", Availability::Ready);
        assert_eq!(returns.next(&members), [key("b")]);
        assert!(!returns.owes("eu", &key("b")) && returns.owes("eu", &key("a")));
        members.set_availability("us", Availability::Ready);
        let mut both = returns.next(&members);
        both.sort();
        assert_eq!(both, [key("a"), key("c")]);
        assert!(returns.next(&members).is_empty());
    }
}
