//! Filling clusters rank by rank, all origins together.
//!
//! At rank t every origin offers what it has left to the members of its tier t in proportion to what they can take.
//! A cluster that is asked for more than it has grants every asker the same part. This repeats until nothing moves,
//! then comes rank t+1: so an origin's own tier is served before what overflows from elsewhere.
//! Each round satisfies an origin or fills a cluster, so there are few.

use super::{Origin, Room};

/// Below this part of an origin's demand or a cluster's room, what is left is rounding.
const NEGLIGIBLE: f64 = 1e-9;
/// Demand given to origins without any, as a part of all demand: enough to get shares, too little to take room.
const TRACE: f64 = 1e-9;
/// More rounds than any input needs; a guard against a rounding error that never settles.
const MOST_ROUNDS: usize = 10_000;

/// What every origin was granted.
pub(super) struct Filled {
    demands: Vec<f64>,
    left: Vec<f64>,
    /// Requests per second by origin and cluster.
    grants: Vec<Vec<f64>>,
}

impl Filled {
    /// Grants of a cluster over all origins.
    pub(super) fn totals(&self) -> Vec<f64> {
        let clusters = self.grants.first().map_or(0, Vec::len);
        (0..clusters)
            .map(|cluster| self.grants.iter().map(|grants| grants[cluster]).sum())
            .collect()
    }

    /// Parts of an origin's demand by cluster.
    pub(super) fn parts(&self, origin: usize) -> Vec<f64> {
        self.grants[origin]
            .iter()
            .map(|grant| grant / self.demands[origin])
            .collect()
    }

    /// Part of an origin's demand that fitted nowhere.
    pub(super) fn left(&self, origin: usize) -> f64 {
        let part = self.left[origin] / self.demands[origin];
        if part > NEGLIGIBLE { part } else { 0.0 }
    }
}

/// An origin's clusters in its order of preference, each once, without those that do not exist.
pub(super) fn preference(origin: &Origin, clusters: usize) -> Vec<usize> {
    tiers(origin, clusters).concat()
}

fn tiers(origin: &Origin, clusters: usize) -> Vec<Vec<usize>> {
    let mut seen = vec![false; clusters];
    origin
        .tiers
        .iter()
        .map(|tier| {
            tier.iter()
                .copied()
                .filter(|&cluster| cluster < clusters && !std::mem::replace(&mut seen[cluster], true))
                .collect()
        })
        .collect()
}

/// Runs the waterfall over eligible clusters (`None`: not eligible).
pub(super) fn fill(rooms: &[Option<Room>], origins: &[Origin]) -> Filled {
    let all_demand: f64 = origins.iter().map(|origin| origin.demand.max(0.0)).sum();
    let trace = TRACE * if all_demand > 0.0 { all_demand } else { 1.0 };
    let demands: Vec<f64> = origins.iter().map(|origin| origin.demand.max(trace)).collect();
    let mut filled = Filled {
        left: demands.clone(),
        grants: vec![vec![0.0; rooms.len()]; origins.len()],
        demands,
    };
    let mut unused: Vec<f64> = rooms
        .iter()
        .map(|room| {
            if let Some(Room::Rate(rate)) = room {
                *rate
            } else {
                f64::INFINITY
            }
        })
        .collect();
    let tiers: Vec<Vec<Vec<usize>>> = origins.iter().map(|origin| tiers(origin, rooms.len())).collect();
    let ranks = tiers.iter().map(Vec::len).max().unwrap_or(0);
    for rank in 0..ranks {
        for _ in 0..MOST_ROUNDS {
            let asks = ask(rooms, &tiers, rank, &filled, &unused);
            if !grant(rooms, &asks, &mut filled, &mut unused) {
                break;
            }
        }
    }
    filled
}

/// What one origin asks of one cluster.
struct Ask {
    origin: usize,
    cluster: usize,
    rate: f64,
}

fn ask(rooms: &[Option<Room>], tiers: &[Vec<Vec<usize>>], rank: usize, filled: &Filled, unused: &[f64]) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (origin, tiers) in tiers.iter().enumerate() {
        let (Some(tier), demand, left) = (tiers.get(rank), filled.demands[origin], filled.left[origin]) else {
            continue;
        };
        if left <= demand * NEGLIGIBLE {
            continue;
        }
        let weights: Vec<(usize, f64)> = tier
            .iter()
            .filter_map(|&cluster| match rooms[cluster]? {
                Room::Rate(rate) => (unused[cluster] > rate * NEGLIGIBLE).then_some((cluster, rate)),
                Room::PartOfOrigin(part) => (filled.grants[origin][cluster] < demand * part * (1.0 - NEGLIGIBLE))
                    .then_some((cluster, demand * part)),
            })
            .collect();
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        asks.extend(weights.into_iter().map(|(cluster, weight)| Ask {
            origin,
            cluster,
            rate: left * weight / sum,
        }));
    }
    asks
}

/// Grants what can be granted; false if nothing was asked for.
fn grant(rooms: &[Option<Room>], asks: &[Ask], filled: &mut Filled, unused: &mut [f64]) -> bool {
    let mut asked = vec![0.0; rooms.len()];
    for ask in asks {
        asked[ask.cluster] += ask.rate;
    }
    let granted_part: Vec<f64> = asked
        .iter()
        .zip(&*unused)
        .map(|(asked, unused)| if asked > unused { unused / asked } else { 1.0 })
        .collect();
    for ask in asks {
        let rate = match rooms[ask.cluster] {
            Some(Room::Rate(_)) => ask.rate * granted_part[ask.cluster],
            Some(Room::PartOfOrigin(part)) => ask
                .rate
                .min(filled.demands[ask.origin] * part - filled.grants[ask.origin][ask.cluster]),
            None => 0.0,
        };
        filled.grants[ask.origin][ask.cluster] += rate;
        filled.left[ask.origin] = (filled.left[ask.origin] - rate).max(0.0);
        unused[ask.cluster] = (unused[ask.cluster] - rate).max(0.0);
    }
    !asks.is_empty()
}
