//! Replicas of workloads that run for ever.
//!
//! Every cluster that answers is planned with. The share of one that does not is frozen until it is lost. One that
//! is returning, or leaving for good, keeps its copy as it is and is not counted on. Whatever the plan, replicas
//! that are ready leave a cluster only when as many are ready elsewhere ([`moves`]): also when the cluster is
//! drained, when the object's selector no longer admits it, and when there is no room for them anywhere else.
//!
//! What an autoscaler decides is left to it. An autoscaler of one member changes nothing for the others: the plan
//! goes on as if the copy had its planned share. A federated one rules in every cluster where it has a copy, and
//! nothing runs where it has none.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ClusterView, Demand, Placement, Scaler,
    moves::{self, Position},
};
use crate::{ClusterInput, Share, Standing, availability::Availability, standing};

pub(super) fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    // An object that is meant for no cluster at all goes at once.
    if !clusters.iter().any(|view| view.selected) {
        return Placement::default();
    }
    let mut placement = Placement::default();
    let mut active = Vec::new();
    let mut frozen = Vec::new();
    for view in clusters {
        match part(view) {
            Part::Active => active.push(view),
            Part::Frozen => frozen.push(view),
            Part::Absent => {}
            Part::Untouched(share, why) => {
                placement.shares.insert(view.name().to_owned(), share);
                placement.reasons.insert(view.name().to_owned(), why.to_owned());
            }
            Part::Gone(why) => {
                placement.reasons.insert(view.name().to_owned(), why.to_owned());
            }
        }
    }
    let wanted = demand.total.replicas.unwrap_or(1).max(0);
    let mut remaining = wanted;
    for (view, kept) in freeze(demand, wanted, &active, &frozen) {
        remaining -= kept;
        let name = view.name().to_owned();
        placement.shares.insert(name.clone(), share(view, wanted, kept));
        placement.wanted.insert(name.clone(), kept);
        let why = "the cluster does not answer; its share is kept for now";
        placement.reasons.insert(name, why.to_owned());
    }
    settle(demand, wanted, remaining.max(0), &active, &mut placement);
    placement.home = if clusters.iter().any(ClusterView::is_away) {
        clusters
            .iter()
            .filter_map(|v| Some((v.name().to_owned(), v.home?)))
            .collect()
    } else {
        placement.wanted.clone()
    };
    placement
}

/// What a cluster is in a plan.
enum Part {
    /// It is planned with, if only to take its replicas away.
    Active,
    /// It keeps its share, which is counted.
    Frozen,
    /// It keeps what it has, which is not counted.
    Untouched(Share, &'static str),
    /// It has nothing; why.
    Gone(&'static str),
    /// It has nothing.
    Absent,
}

fn part(view: &ClusterView) -> Part {
    let as_it_is = || match view.replicas.unwrap_or(0) {
        _ if view.is_autoscaled() => Share::default(),
        replicas => Share::of(replicas),
    };
    match view.availability {
        Availability::Lost => Part::Gone("the cluster is lost; its share runs elsewhere"),
        _ if view.is_leaving() && view.replicas.is_some() => Part::Untouched(
            as_it_is(),
            "the cluster is leaving; what runs there stays and is not counted on",
        ),
        Availability::Ready => Part::Active,
        _ if !view.selected => Part::Absent,
        Availability::Unreachable { .. } => Part::Frozen,
        Availability::Returning { .. } => Part::Untouched(
            as_it_is(),
            "the cluster is back; it gets its share once it has been well for a while, one object after the other",
        ),
    }
}

/// What a cluster is told. An autoscaler is told nothing, as long as it does anything: at zero it is off.
fn share(view: &ClusterView, wanted: i64, replicas: i64) -> Share {
    if view.is_autoscaled() && view.selected && wanted > 0 {
        Share::default()
    } else {
        Share::of(replicas)
    }
}

/// What clusters that do not answer keep: what they have. When less is wanted than runs, no more than their part
/// of it, for nobody knows whether theirs are alive.
fn freeze<'a>(
    demand: &Demand<'_>,
    wanted: i64,
    active: &[&ClusterView],
    frozen: &[&'a ClusterView],
) -> Vec<(&'a ClusterView, i64)> {
    let has = |view: &ClusterView| view.replicas.unwrap_or(0);
    let all: i64 = active.iter().chain(frozen).map(|view| has(view)).sum();
    let fair = (all > wanted && !frozen.is_empty()).then(|| {
        let known = active.iter().chain(frozen).filter(|view| view.selected);
        demand.split(wanted, known.map(|view| view.cluster.clone()).collect())
    });
    frozen
        .iter()
        .map(|view| {
            let most = fair.as_ref().map_or(i64::MAX, |plan| plan.desired(view.name()));
            (*view, has(view).min(most))
        })
        .collect()
}

/// Plans `remaining` replicas, of `wanted` in all, over the clusters that answer. Nobody knows whether the others'
/// are alive, so theirs do not count as ready.
fn settle(demand: &Demand<'_>, wanted: i64, remaining: i64, active: &[&ClusterView], placement: &mut Placement) {
    let planned = active.iter().filter(|v| v.selected && v.scaler != Scaler::Elsewhere);
    let plan = demand.split(remaining, planned.map(|v| input(demand, v)).collect());
    let targets: BTreeMap<String, Position> = active
        .iter()
        .map(|view| {
            let position = Position {
                current: view.replicas,
                // A status from before the last change may count replicas that are gone since.
                ready: view.ready.min(view.counted.unwrap_or(i64::MAX)),
                alive: view.ready,
                hopeless: hopeless(view),
                target: target(view, wanted, plan.desired(view.name())),
            };
            (view.name().to_owned(), position)
        })
        .collect();
    let available = demand
        .preferences
        .min_available
        .map_or(wanted, |amount| amount.of(wanted))
        .min(permitted(demand, active))
        .min(guaranteed(active));
    let next = moves::step(&targets, available);
    placement.reasons.extend(plan.reasons.clone());
    placement.overflow.clone_from(&plan.overflow);
    let placed: i64 = plan.replicas.values().sum();
    for view in active {
        let name = view.name();
        let (now, target) = (next.get(name).copied().unwrap_or(0), targets[name].target);
        placement.counted.insert(name.to_owned(), targets[name].ready.min(now));
        if view.selected || now > 0 {
            placement.shares.insert(name.to_owned(), share(view, wanted, now));
            // What one member's autoscaler makes of its share is nobody else's business.
            let settled = if view.scaler == Scaler::Member {
                plan.desired(name)
            } else {
                target
            };
            placement.wanted.insert(name.to_owned(), settled);
        }
        explain(view, now - target, placement);
    }
    let bounded = active
        .iter()
        .any(|view| matches!(view.scaler, Scaler::Federated { .. }));
    placement.unplaced = if bounded { 0 } else { (remaining - placed).max(0) };
}

/// The replicas a cluster is to have in the end, `planned` if the plan alone decides.
fn target(view: &ClusterView, wanted: i64, planned: i64) -> i64 {
    match view.scaler {
        _ if wanted == 0 || !view.selected => planned,
        Scaler::Plan => planned,
        Scaler::Elsewhere => 0,
        Scaler::Member | Scaler::Federated { .. } if view.is_autoscaled() => view.replicas.unwrap_or(planned),
        Scaler::Member => planned,
        // An autoscaler takes no workload up that starts at zero.
        Scaler::Federated { min, max } => planned.clamp(min.max(1), max.max(min).max(1)),
    }
}

/// What a federated autoscaler keeps running wherever it is; without one, whatever is asked.
fn guaranteed(active: &[&ClusterView]) -> i64 {
    let minima = active.iter().filter_map(|view| match view.scaler {
        Scaler::Federated { min, .. } => Some(min),
        Scaler::Plan | Scaler::Member | Scaler::Elsewhere => None,
    });
    minima.reduce(i64::saturating_add).unwrap_or(i64::MAX)
}

/// Replicas of a copy that will not become ready: pods that had their time, and pods that its cluster does not make.
fn hopeless(view: &ClusterView) -> i64 {
    let told = view.replicas.unwrap_or(0);
    let given_up = view.waiting.as_ref().map_or(0, |waiting| waiting.hopeless);
    let missing = if view.counted.is_none() {
        told - view.existing
    } else {
        0
    };
    given_up.max(missing).clamp(0, (told - view.ready).max(0))
}

fn input(demand: &Demand<'_>, view: &ClusterView) -> ClusterInput {
    let bare = view.fresh();
    let current = match standing(demand.preferences, &bare) {
        // What an autoscaler has made of it is no claim on the others' shares.
        Standing::Open | Standing::Reluctant(_) if view.is_autoscaled() => view.home,
        Standing::Open | Standing::Reluctant(_) => view.current(),
        // It may be sent home no more than it has.
        Standing::Held(_) | Standing::Out(_) => view.replicas,
    };
    ClusterInput {
        current,
        capacity: view.capacity(),
        ..bare
    }
}

/// The most that the preferences let the admitted clusters run: fewer than wanted, and the rest may go at once.
fn permitted(demand: &Demand<'_>, active: &[&ClusterView]) -> i64 {
    active
        .iter()
        .filter(|view| view.selected)
        .filter_map(|view| demand.preferences.for_cluster(view.name()))
        .map(|own| match own.max_replicas {
            _ if own.weight == 0 => own.min_replicas,
            Some(max) => max.max(own.min_replicas),
            None => i64::MAX,
        })
        .fold(0, i64::saturating_add)
}

fn explain(view: &ClusterView, staying: i64, placement: &mut Placement) {
    let mut add = |text: String| {
        placement
            .reasons
            .entry(view.name().to_owned())
            .and_modify(|reason| {
                reason.push_str("; ");
                reason.push_str(&text);
            })
            .or_insert(text);
    };
    if !view.selected {
        add("the cluster selector no longer admits it".to_owned());
    }
    match view.scaler {
        Scaler::Member | Scaler::Federated { .. } if view.is_autoscaled() => {
            add("an autoscaler of the cluster decides".to_owned());
        }
        Scaler::Elsewhere => add("the federated autoscaler has no copy there".to_owned()),
        Scaler::Plan | Scaler::Member | Scaler::Federated { .. } => {}
    }
    let said = |why: &Option<Arc<str>>| why.clone().unwrap_or_else(|| "Unschedulable".into());
    match (&view.waiting, &view.full) {
        (Some(waiting), _) if waiting.stuck > 0 => {
            add(format!(
                "{} found no node there ({})",
                waiting.stuck,
                said(&waiting.why)
            ));
        }
        (_, Some(full)) => add(format!("no more found a node there ({})", said(&full.why))),
        _ => {}
    }
    if staying > 0 {
        add(format!("{staying} leave once as many are ready elsewhere"));
    }
}
