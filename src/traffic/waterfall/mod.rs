//! The geo-waterfall: which share of each origin's requests every cluster gets.
//!
//! Objective: every client is served by its nearest cluster as long as that has room, what does not fit flows
//! to the next nearest, and clients near a cluster are served there before overflow from elsewhere.
//!
//! A cluster whose capacity is known is filled up to it; ill health shrinks the capacity and nothing else, so no
//! request crosses an ocean while there is room at home. A cluster of unknown capacity takes, as in Envoy's priority
//! levels, at most `overprovisioning × healthy/total` of an origin's requests. With one origin and unknown
//! capacities the result equals Envoy's priority table; with known ones it equals the waterfall of large
//! anycast load balancers.
//!
//! [`plan`] is total and deterministic: the same input gives the same output, whatever was published before,
//! except that a cluster drained before stays drained until it is clearly well again.

mod drain;
mod fill;

pub use drain::autodrained;

/// How much a cluster can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// Nobody said: health alone limits it.
    Unknown,
    /// Requests per second of one healthy endpoint.
    PerEndpoint(f64),
    /// Requests per second of the cluster when all its endpoints are healthy.
    Total(f64),
    /// From its load in requests per second and its utilisation (0 to 1), aiming at 80 %.
    Utilization {
        /// Requests per second it serves now.
        load: f64,
        /// How busy that makes it.
        utilization: f64,
    },
}

/// Utilisation that [`Capacity::Utilization`] aims at.
pub const TARGET_UTILIZATION: f64 = 0.8;
/// Below this utilisation the quotient of load and utilisation says nothing: the cluster counts as unlimited.
const LEAST_TELLING_UTILIZATION: f64 = 0.05;

/// Whether a cluster may get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may.
    Ready,
    /// It may not: it is leaving, or the operator said so.
    Draining,
}

/// A cluster as the waterfall sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Endpoints that work. Fractional where one address stands for many endpoints.
    pub healthy: f64,
    /// Endpoints there are.
    pub total: f64,
    /// What it can take.
    pub capacity: Capacity,
    /// The operator's factor on the capacity, 1 being all; 0 takes the cluster out.
    pub scaler: f64,
    /// The part it may take after coming back, growing to 1.
    pub ramp: f64,
    /// Whether it may get traffic.
    pub state: State,
}

impl Cluster {
    /// A ready cluster of unknown capacity.
    pub fn of_health(healthy: f64, total: f64) -> Self {
        Self {
            healthy,
            total,
            capacity: Capacity::Unknown,
            scaler: 1.0,
            ramp: 1.0,
            state: State::Ready,
        }
    }

    /// Part of the endpoints that work, 0 when there are none.
    pub fn health(&self) -> f64 {
        if self.total > 0.0 {
            (self.healthy / self.total).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// A ready cluster with endpoints: one that counts for the limit on draining, and that panic may choose.
    pub fn in_service(&self) -> bool {
        self.state == State::Ready && self.total > 0.0
    }

    /// What it offers, `None` if it is not eligible.
    fn room(&self, overprovisioning: f64) -> Option<Room> {
        if !self.in_service() || self.healthy <= 0.0 {
            return None;
        }
        let factor = self.scaler * self.ramp;
        let room = match self.capacity {
            Capacity::Unknown => Room::PartOfOrigin((overprovisioning * self.health()).min(1.0) * factor),
            Capacity::PerEndpoint(rate) => Room::Rate(rate * self.healthy * factor),
            Capacity::Total(rate) => Room::Rate(rate * self.health() * factor),
            Capacity::Utilization { utilization, .. } if utilization < LEAST_TELLING_UTILIZATION => {
                Room::PartOfOrigin(factor.min(1.0))
            }
            Capacity::Utilization { load, utilization } => Room::Rate(TARGET_UTILIZATION * load / utilization * factor),
        };
        (room.size() > 0.0).then_some(room)
    }
}

/// What a cluster offers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Room {
    /// Requests per second over all origins.
    Rate(f64),
    /// A part of each origin's requests.
    PartOfOrigin(f64),
}

impl Room {
    fn size(self) -> f64 {
        match self {
            Self::Rate(size) | Self::PartOfOrigin(size) => size,
        }
    }
}

/// Clients that prefer clusters in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Requests per second. An origin without demand still gets the shares its first request would have.
    pub demand: f64,
    /// Indices of clusters, nearest tier first; a cluster named twice counts where it is first.
    pub tiers: Vec<Vec<usize>>,
}

/// What happens to demand that fits nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overload {
    /// Every full cluster is overfilled by the same factor.
    #[default]
    Spread,
    /// It is refused: 503 with Retry-After.
    Shed,
}

/// What happens when no cluster of an origin is eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Panic {
    /// The nearest ready cluster gets everything: its health checks may be wrong.
    #[default]
    Nearest,
    /// Everything is refused.
    Fail,
}

/// Thresholds and policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// A cluster of unknown capacity takes all of an origin until less than 1/this of its endpoints are healthy.
    pub overprovisioning: f64,
    /// Demand that fits nowhere.
    pub overload: Overload,
    /// No cluster eligible.
    pub panic: Panic,
    /// A cluster whose healthy part is below this is drained.
    pub drain_below: f64,
    /// A drained cluster gets traffic again when its healthy part reaches this.
    pub restore_at: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            overprovisioning: 1.4,
            overload: Overload::Spread,
            panic: Panic::Nearest,
            drain_below: 0.25,
            restore_at: 0.35,
        }
    }
}

/// A part of an origin's requests that goes to one cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Index of the cluster.
    pub cluster: usize,
    /// The part, above 0, at most 1.
    pub part: f64,
}

/// What one origin's clients get.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Served {
    /// In the origin's order of preference; without clusters that get nothing.
    pub shares: Vec<Share>,
    /// The part that is refused: 1 minus the sum of the shares.
    pub shed: f64,
    /// Demand was left when everything eligible was full.
    pub overloaded: bool,
    /// No cluster was eligible, the nearest ready one got everything.
    pub panicked: bool,
}

/// The waterfall's result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Per origin, in input order.
    pub origins: Vec<Served>,
    /// Per cluster: drained for ill health.
    pub drained: Vec<bool>,
}

impl Plan {
    /// Some origin's demand fitted nowhere.
    pub fn overload(&self) -> bool {
        self.origins.iter().any(|origin| origin.overloaded)
    }

    /// Some origin had no eligible cluster and was sent to the nearest ready one.
    pub fn panic(&self) -> bool {
        self.origins.iter().any(|origin| origin.panicked)
    }

    /// Some origin is served by nobody.
    pub fn no_backend(&self) -> bool {
        self.origins
            .iter()
            .any(|origin| origin.shares.is_empty() && !origin.overloaded)
    }
}

/// Shares for every origin.
///
/// `drained_before` says per cluster whether the previous plan drained it (missing entries: no).
pub fn plan(clusters: &[Cluster], origins: &[Origin], options: &Options, drained_before: &[bool]) -> Plan {
    let drained = autodrained(clusters, drained_before, options);
    let rooms: Vec<Option<Room>> = clusters
        .iter()
        .zip(&drained)
        .map(|(cluster, drained)| {
            if *drained {
                None
            } else {
                cluster.room(options.overprovisioning)
            }
        })
        .collect();
    let filled = fill::fill(&rooms, origins);
    let totals = filled.totals();
    let origins = origins
        .iter()
        .enumerate()
        .map(|(index, origin)| {
            let order = fill::preference(origin, rooms.len());
            if order.iter().all(|&cluster| rooms[cluster].is_none()) {
                return without_eligible(&order, clusters, options.panic);
            }
            let parts = filled.parts(index);
            serve(&order, parts, &totals, filled.left(index), options.overload)
        })
        .collect();
    Plan { origins, drained }
}

/// No cluster is eligible: the nearest ready one, or nobody.
fn without_eligible(order: &[usize], clusters: &[Cluster], panic: Panic) -> Served {
    let nearest = order.iter().copied().find(|&cluster| clusters[cluster].in_service());
    match (panic, nearest) {
        (Panic::Nearest, Some(cluster)) => Served {
            shares: vec![Share { cluster, part: 1.0 }],
            panicked: true,
            ..Served::default()
        },
        (Panic::Fail, _) | (Panic::Nearest, None) => Served {
            shed: 1.0,
            ..Served::default()
        },
    }
}

/// Turns grants (parts of the origin's demand) and what is left of it into shares.
fn serve(order: &[usize], mut parts: Vec<f64>, totals: &[f64], left: f64, overload: Overload) -> Served {
    let mut shed = 0.0;
    if left > 0.0 {
        let reachable: f64 = order.iter().map(|&cluster| totals[cluster]).sum();
        match overload {
            Overload::Spread if reachable > 0.0 => {
                for &cluster in order {
                    parts[cluster] += left * totals[cluster] / reachable;
                }
            }
            Overload::Spread | Overload::Shed => shed = left,
        }
    }
    let sum: f64 = parts.iter().sum::<f64>() + shed;
    let shares = order
        .iter()
        .map(|&cluster| Share {
            cluster,
            part: parts[cluster] / sum,
        })
        .filter(|share| share.part > 0.0)
        .collect();
    Served {
        shares,
        shed: shed / sum,
        overloaded: left > 0.0,
        panicked: false,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
