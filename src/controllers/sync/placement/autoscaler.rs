//! Autoscalers: minimum and maximum, each split by itself.

use planner::{ClusterInput, Standing};

use super::{ClusterView, Demand, Placement};
use crate::{cluster::availability::Availability, sync::share::Share};

/// Every cluster that gets a maximum of at least 1 gets an autoscaler, with a minimum of at least 1.
pub(super) fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let mut inputs = Vec::new();
    for view in clusters.iter().filter(|v| v.selected) {
        match view.availability {
            Availability::Ready => inputs.push(ClusterInput {
                free: None,
                ..view.fresh()
            }),
            Availability::Unreachable { .. } => {
                let why = "the cluster does not answer; its copy stays as it is".to_owned();
                placement.reasons.insert(view.name().to_owned(), why);
            }
            Availability::Lost | Availability::Returning { .. } => {}
        }
    }
    let max = demand.split(demand.total.max.unwrap_or(1), inputs.clone());
    let bounded: Vec<ClusterInput> = inputs.into_iter().filter(|c| max.desired(&c.name) > 0).collect();
    let min = demand.split(demand.total.min.unwrap_or(1), bounded.clone());
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
