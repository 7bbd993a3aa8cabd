//! Autoscalers: minimum and maximum, each split by itself. What a cluster has that does not answer is frozen, and
//! counted until the cluster is lost; one that is returning keeps what it has and is not counted on.

use planner::{ClusterInput, Standing};

use super::{ClusterView, Demand, Placement};
use crate::{cluster::availability::Availability, sync::share::Share};

/// Every cluster that gets a maximum of at least 1 gets an autoscaler, with a minimum of at least 1.
pub(super) fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let mut inputs = Vec::new();
    let (mut least, mut most) = (demand.total.min.unwrap_or(1), demand.total.max.unwrap_or(1));
    for view in clusters.iter().filter(|v| v.selected) {
        let kept = view.replicas.map(|max| Share {
            min: Some(view.min.unwrap_or(1)),
            max: Some(max),
            ..Share::default()
        });
        let why = match (view.availability, kept) {
            (Availability::Ready, _) => {
                inputs.push(ClusterInput {
                    free: None,
                    ..view.fresh()
                });
                continue;
            }
            (Availability::Unreachable { .. }, Some(share)) => {
                least -= share.min.unwrap_or(0);
                most -= share.max.unwrap_or(0);
                "the cluster does not answer; its copy stays as it is"
            }
            (Availability::Returning { .. }, Some(_)) => "the cluster is back; its copy stays as it is for a while",
            (Availability::Unreachable { .. } | Availability::Returning { .. }, None) | (Availability::Lost, _) => {
                continue;
            }
        };
        placement
            .shares
            .extend(kept.map(|share| (view.name().to_owned(), share)));
        placement.reasons.insert(view.name().to_owned(), why.to_owned());
    }
    let max = demand.split(most, inputs.clone());
    let bounded: Vec<ClusterInput> = inputs.into_iter().filter(|c| max.desired(&c.name) > 0).collect();
    let min = demand.split(least, bounded.clone());
    for cluster in bounded {
        let most = max.desired(&cluster.name);
        let least = match planner::standing(demand.preferences, &cluster) {
            // Its own limit is what it has: the minimum must not be taken from that.
            Standing::Held(_) => 1,
            _ => min.desired(&cluster.name).clamp(1, most),
        };
        let share = Share {
            min: Some(least),
            max: Some(most),
            ..Share::default()
        };
        placement.shares.insert(cluster.name, share);
    }
    placement.reasons.extend(max.reasons);
    placement
}
