//! What pods request in every member: counted now and then, and between two counts kept current with the placements
//! that are on their way.
//!
//! A count takes a while and pods are bound a while after they were planned. So every placement whose pods are not
//! all known to be in the last count is in flight: what it still misses is taken as requested. That is a little too
//! careful for pods that are bound and not ready yet, and never the other way.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use client::{Error, Rest};
use parking_lot::{Mutex, MutexGuard};
use planner::Resources;
use tokio::time::Instant;

use super::{SyncKey, pods::each_page};

/// Pods of a cluster are counted this often while some object is planned by room.
const PERIOD: Duration = Duration::from_secs(10);
/// And this often while none is.
const IDLE_PERIOD: Duration = Duration::from_secs(60);

/// What is requested in all members.
#[derive(Default)]
pub(crate) struct Rooms {
    clusters: Mutex<HashMap<String, Room>>,
    users: Mutex<Users>,
    planning: Mutex<()>,
}

#[derive(Default)]
struct Users {
    all: HashSet<SyncKey>,
    short: HashSet<SyncKey>,
}

#[derive(Default)]
struct Room {
    counted: Option<Resources>,
    in_flight: Resources,
    flights: HashMap<SyncKey, Flight>,
    counting: bool,
    last: Option<Instant>,
}

/// Replicas of one object in one cluster, some of which are not in the last count.
#[derive(Debug, Clone, Copy)]
struct Flight {
    each: Resources,
    told: i64,
    counted: i64,
}

impl Flight {
    fn missing(&self) -> i64 {
        (self.told - self.counted).max(0)
    }
}

impl Room {
    fn set(&mut self, key: &SyncKey, flight: Option<Flight>) {
        let old = match flight.filter(|f| f.missing() > 0) {
            Some(flight) => {
                self.in_flight = self.in_flight.plus(flight.each, flight.missing());
                self.flights.insert(key.clone(), flight)
            }
            None => self.flights.remove(key),
        };
        if let Some(old) = old {
            self.in_flight = self.in_flight.plus(old.each, -old.missing());
        }
    }
}

impl Rooms {
    /// Held while an object is planned by room, until its placement is reserved.
    pub(crate) fn planning(&self, by_room: bool) -> Option<MutexGuard<'_, ()>> {
        by_room.then(|| self.planning.lock())
    }

    /// What is requested in a cluster, with what is on its way there; `None` before the first count.
    pub(crate) fn requested(&self, cluster: &str) -> Option<Resources> {
        let clusters = self.clusters.lock();
        let room = clusters.get(cluster)?;
        Some(room.counted?.plus(room.in_flight, 1))
    }

    /// What is on its way to a cluster.
    pub(crate) fn in_flight(&self, cluster: &str) -> Resources {
        let clusters = self.clusters.lock();
        clusters.get(cluster).map(|room| room.in_flight).unwrap_or_default()
    }

    /// Notes how many replicas an object is told to have in a cluster, and how many of them are ready.
    pub(crate) fn reserve(&self, cluster: &str, key: &SyncKey, each: Resources, told: i64, ready: i64) {
        let mut clusters = self.clusters.lock();
        let known = clusters.get(cluster).and_then(|room| room.flights.get(key));
        if known.is_none() && told <= ready {
            return;
        }
        let counted = known.map_or(ready, |flight| flight.counted);
        let room = clusters.entry(cluster.to_owned()).or_default();
        room.set(key, Some(Flight { each, told, counted }));
    }

    /// Notes whether an object is planned by room, and whether it found too little.
    pub(crate) fn use_room(&self, key: &SyncKey, short: Option<bool>) {
        let mut users = self.users.lock();
        match short {
            Some(short) => {
                users.all.insert(key.clone());
                if short {
                    users.short.insert(key.clone());
                } else {
                    users.short.remove(key);
                }
            }
            None => {
                users.all.remove(key);
                users.short.remove(key);
            }
        }
    }

    /// Whether it is time to count a cluster's pods again.
    pub(crate) fn is_due(&self, cluster: &str) -> bool {
        let period = if self.users.lock().all.is_empty() {
            IDLE_PERIOD
        } else {
            PERIOD
        };
        let clusters = self.clusters.lock();
        let last = clusters.get(cluster).and_then(|room| room.last);
        last.is_none_or(|last| last.elapsed() >= period)
    }

    /// Objects that found too little room: they are to be planned again when there is news.
    pub(crate) fn short(&self) -> Vec<SyncKey> {
        self.users.lock().short.iter().cloned().collect()
    }

    /// Forgets an object.
    pub(crate) fn forget(&self, key: &SyncKey) {
        self.use_room(key, None);
        for room in self.clusters.lock().values_mut() {
            room.set(key, None);
        }
    }

    /// Forgets a cluster.
    pub(crate) fn forget_cluster(&self, cluster: &str) {
        self.clusters.lock().remove(cluster);
    }

    /// Counts what is requested in a cluster. `ready`: how many replicas of an object are ready there now.
    /// Nothing is done while another count of it goes on.
    ///
    /// # Errors
    /// If the member cannot be asked; what was known stays.
    pub(crate) async fn count(
        &self,
        cluster: &str,
        rest: &Rest,
        ready: impl Fn(&SyncKey) -> i64 + Send,
    ) -> Result<(), Error> {
        let before: Vec<(SyncKey, i64)> = {
            let mut clusters = self.clusters.lock();
            let room = clusters.entry(cluster.to_owned()).or_default();
            if std::mem::replace(&mut room.counting, true) {
                return Ok(());
            }
            room.last = Some(Instant::now());
            room.flights.keys().map(|key| (key.clone(), ready(key))).collect()
        };
        let result = requested(rest).await;
        let mut clusters = self.clusters.lock();
        let Some(room) = clusters.get_mut(cluster) else {
            return Ok(());
        };
        room.counting = false;
        room.counted = Some(result?);
        for (key, ready) in before {
            if let Some(flight) = room.flights.get(&key).copied() {
                room.set(
                    &key,
                    Some(Flight {
                        counted: ready,
                        ..flight
                    }),
                );
            }
        }
        Ok(())
    }
}

/// What the pods of a cluster request that have a node and have not ended.
async fn requested(rest: &Rest) -> Result<Resources, Error> {
    let mut sum = Resources::default();
    let query = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
    each_page(rest, None, query, |pods| {
        for pod in pods {
            let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
            if bound && !ended {
                sum = sum.plus(Resources::of_pod(&pod["spec"]), 1);
            }
        }
    })
    .await?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use client::Key;
    use serde_json::json;

    use super::*;
    use crate::testing::Fake;

    fn cpu(milli: i64) -> Resources {
        Resources {
            cpu: milli,
            memory: 0,
            pods: 1,
        }
    }

    fn pod(cpu: &str, node: &str, phase: &str) -> apimachinery::Object {
        json!({"spec": {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": phase}})
    }

    #[tokio::test]
    async fn pods_with_a_node_count_until_they_end() {
        let member = Fake::new();
        for (name, cpu, node, phase) in [
            ("a", "100m", "n1", "Running"),
            ("b", "200m", "n1", "Pending"),
            ("c", "400m", "", "Pending"),
            ("d", "800m", "n1", "Succeeded"),
        ] {
            member.put(
                &format!("/api/v1/namespaces/default/pods/{name}"),
                pod(cpu, node, phase),
            );
        }
        let rooms = Rooms::default();
        assert_eq!(rooms.requested("eu"), None);
        rooms.count("eu", &member.rest("eu"), |_| 0).await.expect("answers");
        let requested = rooms.requested("eu").expect("counted");
        assert_eq!((requested.cpu, requested.pods), (300, 2));
    }

    #[tokio::test]
    async fn a_placement_counts_as_requested_until_a_count_has_seen_it() {
        let member = Fake::new();
        let rest = member.rest("eu");
        let rooms = Rooms::default();
        let key = (0, Key::from("a/web"));
        let requested = || rooms.requested("eu").expect("counted").cpu;
        rooms.count("eu", &rest, |_| 0).await.expect("answers");
        rooms.reserve("eu", &key, cpu(500), 3, 0);
        assert_eq!(requested(), 1500, "in flight at once");
        rooms.reserve("eu", &key, cpu(500), 3, 2);
        assert_eq!(requested(), 1500, "ready since, but not counted yet");
        for name in ["x", "y"] {
            member.put(
                &format!("/api/v1/namespaces/a/pods/{name}"),
                pod("500m", "n1", "Running"),
            );
        }
        rooms.count("eu", &rest, |_| 2).await.expect("answers");
        assert_eq!(requested(), 1500, "two counted, one in flight");
        rooms.reserve("eu", &key, cpu(500), 2, 2);
        assert_eq!(requested(), 1000, "the third is not wanted any more");
        rooms.forget(&key);
        assert_eq!(requested(), 1000);
    }
}
