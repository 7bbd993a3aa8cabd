//! The control loop around the waterfall: smoothed demand, bounded moves, slow return.
//!
//! One tick a second turns measured requests into published shares. Demand is an exponentially weighted average, so
//! that a burst does not flap clients between continents. A share moves by at most [`Tuning::largest_move`] per tick,
//! unless health changed: then waiting would only fail requests. A cluster that was away comes back with a growing
//! part of its capacity.

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::waterfall::{self, Cluster, Options, Origin, Plan, Served, Share};

/// How the loop smooths.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Time constant of the demand average.
    pub demand_tau: Duration,
    /// Greatest change of one share in one tick.
    pub largest_move: f64,
    /// How long a cluster takes from its return to its full share; zero means at once.
    pub ramp: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            demand_tau: Duration::from_secs(5),
            largest_move: 0.1,
            ramp: Duration::from_secs(60),
        }
    }
}

/// A returning cluster starts with this part of its capacity: enough to learn whether it really works.
pub const RAMP_START: f64 = 0.1;

/// An exponentially weighted average of a rate that is sampled at irregular times.
pub fn ewma(estimate: f64, sample: f64, elapsed: Duration, tau: Duration) -> f64 {
    let keep = (-elapsed.as_secs_f64() / tau.as_secs_f64()).exp();
    estimate * keep + sample * (1.0 - keep)
}

/// The part of its capacity a cluster may take `since_return` after it came back.
pub fn ramp(since_return: Duration, length: Duration) -> f64 {
    if length.is_zero() {
        return 1.0;
    }
    (since_return.as_secs_f64() / length.as_secs_f64()).clamp(RAMP_START, 1.0)
}

/// Shares moved from `published` towards `target`, no share by more than `largest_move`.
///
/// Keeps the sum: all shares move by the same factor. The order of preference is that of `target`, with clusters
/// that are on their way out at the end.
pub fn move_towards(published: &[Share], target: &[Share], largest_move: f64) -> Vec<Share> {
    let part = |shares: &[Share], cluster| {
        shares
            .iter()
            .find(|share| share.cluster == cluster)
            .map_or(0.0, |share| share.part)
    };
    let mut clusters: Vec<usize> = target.iter().map(|share| share.cluster).collect();
    clusters.extend(
        published
            .iter()
            .map(|share| share.cluster)
            .filter(|&cluster| part(target, cluster) == 0.0),
    );
    let greatest = clusters
        .iter()
        .map(|&cluster| (part(target, cluster) - part(published, cluster)).abs())
        .fold(0.0, f64::max);
    if greatest <= largest_move {
        return target.to_vec();
    }
    let factor = largest_move / greatest;
    clusters
        .into_iter()
        .map(|cluster| {
            let from = part(published, cluster);
            Share {
                cluster,
                part: from + (part(target, cluster) - from) * factor,
            }
        })
        .filter(|share| share.part > 0.0)
        .collect()
}

/// One origin in one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<K> {
    /// Which origin: equal keys are the same origin over time.
    pub key: K,
    /// Requests since the last tick; `None` when this is no tick but a replan between two: demand stays what it was.
    pub requests: Option<u64>,
    /// Its clusters, nearest tier first.
    pub tiers: Vec<Vec<usize>>,
}

/// The loop's memory for one service.
#[derive(Debug, Clone)]
pub struct Control<K> {
    tuning: Tuning,
    demand: HashMap<K, f64>,
    published: HashMap<K, Vec<Share>>,
    drained: Vec<bool>,
    health: Vec<(f64, bool)>,
    returned: Vec<Option<Duration>>,
    has_served: Vec<bool>,
    last_tick: Option<Duration>,
}

impl<K: Eq + Hash + Clone> Control<K> {
    /// Knows nothing yet: the first tick publishes what the waterfall says.
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            demand: HashMap::new(),
            published: HashMap::new(),
            drained: Vec::new(),
            health: Vec::new(),
            returned: Vec::new(),
            has_served: Vec::new(),
            last_tick: None,
        }
    }

    /// Shares for every sampled origin at `now` (time since any fixed moment).
    ///
    /// `clusters` must keep their indices between ticks; when the list's length changes, everything counts as new.
    pub fn tick(&mut self, now: Duration, clusters: &[Cluster], samples: &[Sample<K>], options: &Options) -> Plan {
        let health_changed = self.note_health(now, clusters);
        let elapsed = self.last_tick.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let clusters: Vec<Cluster> = clusters
            .iter()
            .zip(&self.returned)
            .map(|(cluster, returned)| {
                let ramp = returned.map_or(1.0, |returned| ramp(now.saturating_sub(returned), self.tuning.ramp));
                Cluster {
                    ramp: cluster.ramp * ramp,
                    ..cluster.clone()
                }
            })
            .collect();
        let origins: Vec<Origin> = samples
            .iter()
            .map(|sample| Origin {
                demand: self.smoothed(sample, elapsed),
                tiers: sample.tiers.clone(),
            })
            .collect();
        let mut plan = waterfall::plan(&clusters, &origins, options, &self.drained);
        if !health_changed {
            for (sample, served) in samples.iter().zip(&mut plan.origins) {
                self.bound(&sample.key, served);
            }
        }
        self.demand = samples
            .iter()
            .zip(&origins)
            .map(|(sample, origin)| (sample.key.clone(), origin.demand))
            .collect();
        self.published = samples
            .iter()
            .zip(&plan.origins)
            .map(|(sample, served)| (sample.key.clone(), served.shares.clone()))
            .collect();
        self.drained.clone_from(&plan.drained);
        if self.last_tick.is_none() || samples.iter().any(|sample| sample.requests.is_some()) {
            self.last_tick = Some(now);
        }
        plan
    }

    fn smoothed(&self, sample: &Sample<K>, elapsed: Duration) -> f64 {
        let known = self.demand.get(&sample.key);
        match sample.requests {
            Some(requests) if !elapsed.is_zero() => {
                let rate = requests as f64 / elapsed.as_secs_f64();
                known.map_or(rate, |estimate| ewma(*estimate, rate, elapsed, self.tuning.demand_tau))
            }
            Some(_) | None => known.copied().unwrap_or(0.0),
        }
    }

    /// Remembers health and when clusters came back; true if anything changed since the last tick.
    fn note_health(&mut self, now: Duration, clusters: &[Cluster]) -> bool {
        let health: Vec<(f64, bool)> = clusters
            .iter()
            .map(|cluster| (cluster.health(), cluster.in_service() && cluster.healthy > 0.0))
            .collect();
        if health.len() != self.health.len() {
            self.returned = vec![None; health.len()];
            self.has_served = health.iter().map(|(_, serves)| *serves).collect();
            self.drained = vec![false; health.len()];
            self.published.clear();
            self.health = health;
            return true;
        }
        for (i, (before, after)) in self.health.iter().zip(&health).enumerate() {
            // Its first start is no return: there is nothing to be careful about yet.
            if after.1 && !before.1 && std::mem::replace(&mut self.has_served[i], true) {
                self.returned[i] = Some(now);
            }
        }
        let changed = health != self.health;
        self.health = health;
        changed
    }

    fn bound(&self, key: &K, served: &mut Served) {
        let Some(published) = self.published.get(key).filter(|published| !published.is_empty()) else {
            return;
        };
        if served.shares.is_empty() {
            return;
        }
        served.shares = move_towards(published, &served.shares, self.tuning.largest_move);
        served.shed = (1.0 - served.shares.iter().map(|share| share.part).sum::<f64>()).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waterfall::Capacity;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn sample(requests: impl Into<Option<u64>>) -> Sample<&'static str> {
        Sample {
            key: "LON",
            requests: requests.into(),
            tiers: vec![vec![0], vec![1]],
        }
    }

    fn rated(healthy: f64) -> Cluster {
        Cluster {
            capacity: Capacity::PerEndpoint(10.0),
            ..Cluster::of_health(healthy, 10.0)
        }
    }

    fn first_share(plan: &Plan) -> f64 {
        plan.origins[0]
            .shares
            .iter()
            .find(|share| share.cluster == 0)
            .map_or(0.0, |share| share.part)
    }

    #[test]
    fn demand_approaches_the_measured_rate() {
        let after = ewma(0.0, 100.0, at(5), at(5));
        assert!((after - 63.212).abs() < 1e-3);
        assert_eq!(ewma(100.0, 100.0, at(1), at(5)), 100.0);
    }

    #[test]
    fn a_share_moves_by_a_tenth_per_tick_while_health_is_steady() {
        let mut control = Control::new(Tuning {
            demand_tau: Duration::from_millis(1),
            ..Tuning::default()
        });
        let clusters = [rated(10.0), rated(10.0)];
        control.tick(at(0), &clusters, &[sample(0)], &Options::default());
        assert_eq!(
            first_share(&control.tick(at(1), &clusters, &[sample(100)], &Options::default())),
            1.0
        );
        let moved = first_share(&control.tick(at(2), &clusters, &[sample(200)], &Options::default()));
        assert!((moved - 0.9).abs() < 1e-9);
        let moved = first_share(&control.tick(at(3), &clusters, &[sample(200)], &Options::default()));
        assert!((moved - 0.8).abs() < 1e-9);
    }

    #[test]
    fn a_dead_cluster_is_left_at_once() {
        let mut control = Control::new(Tuning::default());
        control.tick(at(0), &[rated(10.0), rated(10.0)], &[sample(0)], &Options::default());
        let plan = control.tick(at(1), &[rated(0.0), rated(10.0)], &[sample(10)], &Options::default());
        assert_eq!(first_share(&plan), 0.0);
    }

    #[test]
    fn a_cluster_that_returns_ramps_up() {
        let mut control = Control::new(Tuning::default());
        let (well, dead) = (Cluster::of_health(10.0, 10.0), Cluster::of_health(0.0, 10.0));
        let options = Options::default();
        assert_eq!(
            first_share(&control.tick(at(0), &[well.clone(), well.clone()], &[sample(1)], &options)),
            1.0
        );
        control.tick(at(1), &[dead, well.clone()], &[sample(1)], &options);
        let both = [well.clone(), well];
        assert!((first_share(&control.tick(at(2), &both, &[sample(1)], &options)) - 0.1).abs() < 1e-9);
        for second in 3..32 {
            control.tick(at(second), &both, &[sample(1)], &options);
        }
        assert!((first_share(&control.tick(at(32), &both, &[sample(1)], &options)) - 0.5).abs() < 1e-9);
        for second in 33..62 {
            control.tick(at(second), &both, &[sample(1)], &options);
        }
        assert_eq!(first_share(&control.tick(at(62), &both, &[sample(1)], &options)), 1.0);
    }

    #[test]
    fn a_cluster_that_starts_for_the_first_time_serves_in_full_at_once() {
        let mut control = Control::new(Tuning::default());
        let options = Options::default();
        let starting = [Cluster::of_health(0.0, 0.0), Cluster::of_health(10.0, 10.0)];
        control.tick(at(0), &starting, &[sample(10)], &options);
        let started = [Cluster::of_health(10.0, 10.0), Cluster::of_health(10.0, 10.0)];
        let plan = control.tick(at(1), &started, &[sample(10)], &options);
        assert_eq!(first_share(&plan), 1.0);
    }

    #[test]
    fn ramps_start_at_a_tenth_and_end_at_one() {
        assert_eq!(ramp(at(0), at(60)), 0.1);
        assert_eq!(ramp(at(30), at(60)), 0.5);
        assert_eq!(ramp(at(90), at(60)), 1.0);
        assert_eq!(ramp(at(0), at(0)), 1.0);
    }

    proptest! {
        #[test]
        fn bounded_moves_keep_the_sum_and_the_bound(a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let shares = |part: f64, clusters: [usize; 2]| [Share { cluster: clusters[0], part }, Share { cluster: clusters[1], part: 1.0 - part }];
            let moved = move_towards(&shares(a, [0, 1]), &shares(b, [0, 2]), 0.1);
            prop_assert!((moved.iter().map(|share| share.part).sum::<f64>() - 1.0).abs() < 1e-9);
            let first = moved.iter().find(|share| share.cluster == 0).map_or(0.0, |share| share.part);
            prop_assert!((first - a).abs() <= 0.1 + 1e-9);
        }
    }
}
