//! Planning one object: what is known of each cluster, the plan, and telling people of it.

use std::sync::Arc;

use api::preferences::Preferences;
use apimachinery::Object;
use client::{error::chain, events::Severity};
use jiff::Timestamp;
use planner::{
    ClusterInput, Resources,
    availability::Availability,
    placement::{self, ClusterView, Demand, Full, Placement, Scaler, Waiting},
};

use super::{SyncKey, engine::Engine, federated::Federated, kinds::Scaling, observe::Copy, waves};

/// Whether a cluster's status is of a time after the last plan was carried out there.
fn took_effect(planned: &Placement, cluster: &str, copy: Option<&Copy>) -> bool {
    let told = planned.shares.get(cluster).and_then(|share| share.replicas);
    copy.is_some_and(|copy| copy.settled && (told.is_none() || copy.observed.replicas == told))
}

fn demand<'a>(key: &'a SyncKey, federated: &'a Federated, preferences: &'a Preferences) -> Demand<'a> {
    Demand {
        scaling: Engine::kind(key).scaling(),
        key: key.1.as_str(),
        total: &federated.demand,
        preferences,
        requests: federated.requests,
    }
}

impl Engine {
    /// Plans an object and remembers the plan. Says so if it is another one than before.
    pub(super) fn place(&self, key: &SyncKey, federated: &Federated) {
        let scaling = Self::kind(key).scaling();
        if scaling == Scaling::Copy {
            return;
        }
        let preferences = self.preferences(key, federated);
        let demand = demand(key, federated, &preferences);
        // Two objects must not both be given the last room.
        let planning = self.rooms.planning(preferences.capacity_aware);
        let views = self.views(key, federated);
        self.remember_full(key, &views);
        self.remember_debts(key, &views);
        let placement = Arc::new(Placement {
            waves: waves::waves(&preferences, &views),
            ..placement::place(&demand, &views)
        });
        if matches!(scaling, Scaling::Replicas { .. }) {
            for view in &views {
                let told = placement.shares.get(view.name()).and_then(|share| share.replicas);
                self.rooms
                    .reserve(view.name(), key, federated.requests, told.unwrap_or(0), view.ready);
            }
        }
        drop(planning);
        self.rooms
            .use_room(key, preferences.capacity_aware.then_some(placement.unplaced > 0));
        let old = self.placements.lock().insert(key.clone(), Arc::clone(&placement));
        let changed = match &old {
            Some(old) => old.wanted != placement.wanted,
            None => views.iter().all(|v| v.replicas.is_none()),
        };
        if changed && !placement.wanted.is_empty() {
            self.tell(key, federated, &views, &placement);
        }
    }

    /// What did not fit is not tried again for a while, even when nothing is stuck any more.
    fn remember_full(&self, key: &SyncKey, views: &[ClusterView]) {
        for view in views {
            let stuck = view.waiting.as_ref().filter(|waiting| waiting.stuck > 0);
            if let (Some(waiting), Some(fits), Some(member)) = (stuck, view.capacity(), self.members.get(view.name())) {
                let why = waiting.why.clone();
                member.set_full(key, Full { fits, why });
            }
        }
    }

    /// A share that runs elsewhere because its cluster is lost goes back when it is its turn.
    fn remember_debts(&self, key: &SyncKey, views: &[ClusterView]) {
        let lost = |view: &&ClusterView| view.availability == Availability::Lost;
        if self.settings.returns_per_second > 0 {
            for view in views
                .iter()
                .filter(lost)
                .filter(|view| view.home.is_some_and(|share| share > 0))
            {
                self.returns.owe(view.name(), key);
            }
        }
    }

    fn preferences(&self, key: &SyncKey, federated: &Federated) -> Preferences {
        match federated.preferences.as_deref().map(Preferences::parse) {
            None => Preferences::equal_shares(),
            Some(Ok(preferences)) => preferences,
            Some(Err(error)) => {
                let text = format!(
                    "the preferences cannot be read, so every cluster counts the same: {}",
                    chain(&error)
                );
                self.event(key, federated, Severity::Warning, "InvalidPreferences", text);
                Preferences::equal_shares()
            }
        }
    }

    fn tell(&self, key: &SyncKey, federated: &Federated, views: &[ClusterView], placement: &Placement) {
        let mut text = placement::sentence(placement, "replicas");
        for view in views {
            let Some(reason) = placement.reasons.get(view.name()) else {
                continue;
            };
            if view.is_remarkable() || reason.contains("room") {
                text.push_str(&format!("; {}: {reason}", view.name()));
            }
        }
        let severity = if placement.unplaced > 0 {
            text.push_str(&format!("; {} fit nowhere", placement.unplaced));
            Severity::Warning
        } else {
            Severity::Normal
        };
        self.event(key, federated, severity, "Placement", text);
    }

    fn views(&self, key: &SyncKey, federated: &Federated) -> Vec<ClusterView> {
        let detail: Object = federated
            .detail
            .as_deref()
            .and_then(|d| serde_json::from_str(d).ok())
            .unwrap_or_default();
        let planned = self.placement(key);
        let scaler = self.federated_scaler(key);
        let mut views: Vec<ClusterView> = self
            .clusters
            .all()
            .into_iter()
            .filter_map(|(_, cluster)| self.view(key, federated, &cluster, &detail, planned.as_deref()))
            .collect();
        if let Some(bounds) = scaler {
            for view in &mut views {
                view.scaler = match bounds.shares.get(view.name()) {
                    Some(share) => Scaler::Federated {
                        min: share.min.unwrap_or(1),
                        max: share.max.unwrap_or(1),
                    },
                    None => Scaler::Elsewhere,
                };
            }
        }
        views.sort_by(|a, b| a.name().cmp(b.name()));
        views
    }

    /// Where the federated autoscaler of a workload has copies, and with which bounds; `None` if it has none.
    fn federated_scaler(&self, key: &SyncKey) -> Option<Placement> {
        if !matches!(Self::kind(key).scaling(), Scaling::Replicas { .. }) {
            return None;
        }
        let (scaler, federated) = self.autoscaler_of(key)?;
        let preferences = self.preferences(&scaler, &federated);
        let views = self.views(&scaler, &federated);
        Some(placement::place(&demand(&scaler, &federated, &preferences), &views))
    }

    fn view(
        &self,
        key: &SyncKey,
        federated: &Federated,
        object: &Object,
        detail: &Object,
        planned: Option<&Placement>,
    ) -> Option<ClusterView> {
        let mut cluster = ClusterInput::of(object);
        let name = cluster.name.clone();
        cluster.free = match self.rooms.requested(&name) {
            Some(requested) => {
                Resources::of_list(&object["status"]["allocatable"]).map(|allocatable| allocatable.minus(requested))
            }
            // Not counted yet: what the Cluster says.
            None => cluster.free.map(|free| free.minus(self.rooms.in_flight(&name))),
        };
        let selected = federated.selects(&object["metadata"]["labels"]);
        // Not probed yet: as it was.
        let availability = self.members.availability(&name).unwrap_or(Availability::Unreachable {
            since: Timestamp::now(),
        });
        let availability = match availability {
            Availability::Ready if self.returns.owes(&name, key) => Availability::Returning {
                since: Timestamp::now(),
            },
            other => other,
        };
        let member = self.members.get(&name);
        let store = member.as_ref().map(|m| m.store(key.0));
        let copy = store.and_then(|s| s.get(&key.1)).filter(|c| c.ours);
        if !selected && copy.is_none() {
            return None;
        }
        // Before the copies are listed: what the last controller manager knew.
        let listed = store.is_some_and(client::Store::is_synced);
        let remembered = || detail[&name]["replicas"].as_i64().filter(|_| !listed);
        let observed = copy.as_ref().map(|c| &*c.observed);
        let kind = Self::kind(key).resource().kind;
        Some(ClusterView {
            selected,
            availability,
            replicas: observed.map_or_else(remembered, |o| o.replicas),
            counted: planned
                .filter(|p| !took_effect(p, &name, copy.as_deref()))
                .and_then(|p| p.counted.get(&name).copied()),
            full: member.as_ref().and_then(|m| m.full(key)),
            completions: observed.and_then(|o| o.completions),
            start: observed.map_or_else(|| detail[&name]["start"].as_i64().filter(|_| !listed), |o| o.start),
            min: observed.and_then(|o| o.min),
            ready: observed.map_or_else(|| remembered().unwrap_or(0), |o| o.ready),
            existing: observed.map_or(0, |o| o.existing),
            waiting: member.as_ref().and_then(|m| m.pending(key)).map(|pending| Waiting {
                all: pending.waiting,
                stuck: pending.stuck,
                hopeless: pending.hopeless(self.settings.unschedulable_after),
                why: pending.why,
            }),
            scaler: match member {
                Some(member) if member.is_autoscaled(kind, &key.1) => Scaler::Member,
                Some(_) | None => Scaler::Plan,
            },
            home: match planned {
                Some(placement) => placement.home.get(&name).copied(),
                None => detail[&name]["share"].as_i64(),
            },
            cluster,
        })
    }
}
