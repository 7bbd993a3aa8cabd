//! A federation of model clusters under random events: the placement must never be the reason why fewer replicas are
//! ready than wanted, and must come to rest where everything runs.
//!
//! Model clusters start pods late and in any order, get writes late, and report as late as they like what became of
//! them. Only that there is room for pods which had found none for long is told at once: those are given up, as not to
//! keep them for ever. Clusters are drained, cordoned, lost at any moment, returned, joined and removed; the number of
//! replicas and the preferences change; pods find no room. A seed gives the whole history; a failure names it.

use jiff::Timestamp;

use super::*;

/// Histories, and events in each.
const SEEDS: u64 = 200;
const EVENTS: usize = 120;

/// SplitMix64: small and good enough to choose events.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).unwrap_or(0)
    }

    fn count(&mut self, sides: u64) -> i64 {
        i64::try_from(self.roll(sides)).unwrap_or(0)
    }
}

/// What a cluster last reported of the copy.
#[derive(Clone, Copy, Default)]
struct Report {
    ready: i64,
    existing: i64,
    pending: i64,
    settled: bool,
}

struct Cluster {
    name: String,
    alive: bool,
    availability: Availability,
    taint: Option<&'static str>,
    cordoned: bool,
    /// Pods that fit.
    room: i64,
    /// What the copy was told; as the federation knows it from its own writes.
    replicas: Option<i64>,
    /// Pods there are, of which are ready.
    pods: i64,
    ready: i64,
    report: Report,
    full: Option<i64>,
}

impl Cluster {
    fn new(name: String, room: i64) -> Self {
        Self {
            name,
            alive: true,
            availability: Availability::Ready,
            taint: None,
            cordoned: false,
            room,
            replicas: None,
            pods: 0,
            ready: 0,
            report: Report::default(),
            full: None,
        }
    }

    /// Its controllers and nodes do some of their work. Pods that are not ready go first.
    fn work(&mut self, start: i64) {
        self.pods = self.replicas.unwrap_or(0);
        self.ready = self.ready.min(self.pods);
        let fitting = self.pods.min(self.room) - self.ready;
        self.ready += fitting.clamp(0, start);
    }

    fn report(&mut self) {
        self.report = Report {
            ready: self.ready,
            existing: self.pods,
            pending: (self.pods - self.room.max(self.ready)).max(0),
            settled: self.replicas == Some(self.pods),
        };
        if self.report.pending > 0 {
            self.full = Some(self.pods - self.report.pending);
        }
    }

    fn serves(&self) -> bool {
        self.alive
    }
}

struct World {
    seed: u64,
    dice: Dice,
    preferences: Preferences,
    wanted: i64,
    /// The least that was wanted since everything last was at rest.
    floor: i64,
    clusters: Vec<Cluster>,
    plan: Placement,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let clusters = (0..2 + dice.roll(3))
            .map(|i| Cluster::new(format!("c{i}"), 40))
            .collect();
        let wanted = 1 + dice.count(20);
        let mut world = Self {
            seed,
            dice,
            preferences: Preferences::equal_shares(),
            wanted,
            floor: wanted,
            clusters,
            plan: Placement::default(),
            history: Vec::new(),
        };
        world.rest();
        world
    }

    fn view(&self, cluster: &Cluster) -> ClusterView {
        let told = self.plan.shares.get(&cluster.name).and_then(|s| s.replicas);
        let done = cluster.report.settled && (told.is_none() || told == cluster.replicas);
        let taints = cluster.taint.map(|key| crate::Taint {
            key: key.to_owned(),
            effect: "NoExecute".to_owned(),
            ..crate::Taint::default()
        });
        let input = ClusterInput {
            name: cluster.name.clone(),
            unschedulable: cluster.cordoned,
            taints: taints.into_iter().collect(),
            ..ClusterInput::default()
        };
        ClusterView {
            replicas: cluster.replicas,
            counted: self.plan.counted.get(&cluster.name).copied().filter(|_| !done),
            ready: cluster.report.ready,
            existing: cluster.report.existing,
            waiting: Some(Waiting {
                all: cluster.report.existing - cluster.report.ready,
                stuck: cluster.report.pending,
                hopeless: cluster.report.pending,
                why: None,
            }),
            full: cluster.full.map(|fits| Full { fits, why: None }),
            home: self.plan.home.get(&cluster.name).copied(),
            ..ClusterView::new(input, cluster.availability)
        }
    }

    fn replan(&mut self) {
        let views: Vec<ClusterView> = self.clusters.iter().map(|c| self.view(c)).collect();
        self.plan = place(
            &Demand {
                scaling: Scaling::Replicas {
                    preferences: "",
                    ordinals: false,
                },
                key: "a/web",
                total: &Share::of(self.wanted),
                preferences: &self.preferences,
                requests: Resources::default(),
            },
            &views,
        );
    }

    fn write(&mut self, at: usize) {
        let cluster = &mut self.clusters[at];
        let share = self.plan.shares.get(&cluster.name).and_then(|s| s.replicas);
        if cluster.alive && cluster.availability.is_reachable() && share.is_some() && share != cluster.replicas {
            cluster.replicas = share;
            cluster.report.settled = false;
        }
    }

    fn ready(&self) -> i64 {
        self.clusters.iter().filter(|c| c.serves()).map(|c| c.ready).sum()
    }

    /// A cluster does some work: what it takes away must not be missed.
    fn work(&mut self, at: usize, start: i64) {
        let before = self.ready();
        if self.clusters[at].alive {
            self.clusters[at].work(start);
        }
        let after = self.ready();
        assert!(
            after >= before.min(self.floor),
            "seed {}: {} took ready replicas from {before} to {after} with {} wanted\n{}",
            self.seed,
            self.clusters[at].name,
            self.floor,
            self.history.join("\n"),
        );
    }

    /// Until nothing changes any more.
    fn rest(&mut self) {
        for _ in 0..60 {
            self.replan();
            for at in 0..self.clusters.len() {
                self.write(at);
            }
            for at in 0..self.clusters.len() {
                self.work(at, i64::MAX);
                self.clusters[at].report();
            }
        }
        self.floor = self.wanted;
    }

    fn change(&mut self, wanted: i64) {
        self.floor = self.floor.min(wanted);
        self.wanted = wanted;
    }

    /// Replicas of a cluster that are ready and will be when all that was decided has been carried out.
    fn certain(&self, cluster: &Cluster) -> i64 {
        let planned = self.plan.shares.get(&cluster.name).and_then(|share| share.replicas);
        let told = [cluster.replicas, planned].into_iter().flatten().min();
        cluster.ready.min(told.unwrap_or(0))
    }

    fn at_random(&mut self) -> usize {
        let len = self.clusters.len();
        self.dice.pick(len)
    }

    fn event(&mut self) {
        let at = self.at_random();
        let name = self.clusters[at].name.clone();
        let dice = self.dice.roll(40);
        let told = match dice {
            0..=9 => {
                self.replan();
                return;
            }
            10..=17 => {
                self.write(at);
                return;
            }
            18..=25 => {
                let start = self.dice.count(4);
                self.work(at, start);
                return;
            }
            26..=30 => {
                if self.clusters[at].alive {
                    self.clusters[at].report();
                }
                return;
            }
            31 => {
                let wanted = self.dice.count(25);
                self.change(wanted);
                format!("{wanted} replicas are wanted")
            }
            32 => {
                let flag = &mut self.clusters[at].cordoned;
                *flag = !*flag;
                format!("{name} is cordoned: {flag}")
            }
            33 => {
                let taint = &mut self.clusters[at].taint;
                *taint = taint.is_none().then_some(TAINT_DRAINING);
                format!("{name} is drained: {}", taint.is_some())
            }
            34 => {
                self.preferences.rebalance = !self.preferences.rebalance;
                format!("rebalance: {}", self.preferences.rebalance)
            }
            35 => {
                let name = format!("n{}", self.history.len());
                self.clusters.push(Cluster::new(name.clone(), 40));
                format!("{name} joins")
            }
            36 => self.lose(at),
            37 => self.recover(),
            38 => self.leave(at),
            _ => {
                // What runs stays; what comes new finds less room, or more.
                let least = self.clusters[at].ready;
                self.clusters[at].room = least + self.dice.count(10);
                self.clusters[at].full = None;
                if self.clusters[at].alive {
                    self.clusters[at].report();
                    self.replan();
                }
                format!("{name} has room for {}", self.clusters[at].room)
            }
        };
        self.history.push(told);
    }

    /// A cluster is gone. Nobody can foresee it: what the others were told before stands.
    fn lose(&mut self, at: usize) -> String {
        if self.clusters.iter().filter(|c| c.alive).count() < 2 {
            return "nothing".to_owned();
        }
        let cluster = &mut self.clusters[at];
        cluster.alive = false;
        cluster.availability = Availability::Unreachable {
            since: Timestamp::UNIX_EPOCH,
        };
        let name = cluster.name.clone();
        if self.dice.roll(2) == 0 {
            self.clusters[at].availability = Availability::Lost;
        }
        let left: i64 = self.clusters.iter().filter(|c| c.alive).map(|c| self.certain(c)).sum();
        self.floor = self.floor.min(left);
        self.replan();
        format!("{name} is gone")
    }

    /// One cluster that is away comes a step closer.
    fn recover(&mut self) -> String {
        let Some(cluster) = self.clusters.iter_mut().find(|c| c.availability != Availability::Ready) else {
            return "nothing".to_owned();
        };
        cluster.availability = match (cluster.alive, cluster.availability) {
            (_, Availability::Unreachable { .. } | Availability::Returning { .. }) => Availability::Ready,
            _ => Availability::Returning {
                since: Timestamp::UNIX_EPOCH,
            },
        };
        if !cluster.alive {
            // Its pods are to be started again.
            cluster.alive = true;
            cluster.ready = 0;
            cluster.report();
        }
        format!("{} counts as {:?}", cluster.name, cluster.availability)
    }

    /// A cluster leaves for good: as `kubefed unjoin` does it, when the others have taken over.
    fn leave(&mut self, at: usize) -> String {
        let others = |c: &&Cluster| c.alive && c.availability == Availability::Ready && c.taint.is_none();
        if self.clusters.iter().filter(others).count() < 3 || !self.clusters[at].alive {
            return "nothing".to_owned();
        }
        self.clusters[at].taint = Some(TAINT_LEAVING);
        self.rest();
        let elsewhere: i64 = self.ready() - self.clusters[at].ready;
        let name = self.clusters[at].name.clone();
        if elsewhere < self.wanted {
            self.clusters[at].taint = None;
            return format!("{name} cannot be spared");
        }
        self.clusters.remove(at);
        format!("{name} has left")
    }

    /// All is well again: everything wanted must run, where the plan wants it.
    fn heal(&mut self) {
        for cluster in &mut self.clusters {
            if !cluster.alive {
                cluster.alive = true;
                cluster.ready = 0;
            }
            cluster.availability = Availability::Ready;
            cluster.taint = None;
            cluster.cordoned = false;
            cluster.room = 40;
            cluster.full = None;
            cluster.report();
        }
        self.rest();
        let told: i64 = self.clusters.iter().filter_map(|c| c.replicas).sum();
        assert_eq!(
            (self.ready(), told, self.plan.is_moving()),
            (self.wanted, self.wanted, false),
            "seed {}: {:?}\n{}",
            self.seed,
            self.plan,
            self.history.join("\n")
        );
    }
}

#[test]
fn no_event_makes_the_federation_take_away_ready_replicas_that_are_wanted() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.event();
        }
        world.heal();
    }
}

#[test]
fn a_drain_with_nowhere_to_go_leaves_everything_running() {
    let mut world = World::new(1);
    world.change(10);
    world.rest();
    for cluster in &mut world.clusters {
        cluster.room = cluster.ready;
    }
    world.clusters[0].taint = Some(TAINT_DRAINING);
    world.rest();
    assert_eq!(world.ready(), 10);
    assert!(world.clusters[0].ready > 0);
    let reason = &world.plan.reasons[&world.clusters[0].name];
    assert!(reason.contains("leave once as many are ready elsewhere"), "{reason}");
    for cluster in &mut world.clusters[1..] {
        cluster.room = 40;
        cluster.full = None;
    }
    world.rest();
    assert_eq!((world.clusters[0].replicas, world.ready()), (Some(0), 10));
}

#[test]
fn a_drained_cluster_gets_its_share_back() {
    let mut world = World::new(2);
    world.change(12);
    world.rest();
    let before: Vec<Option<i64>> = world.clusters.iter().map(|c| c.replicas).collect();
    world.clusters[0].taint = Some(TAINT_DRAINING);
    world.rest();
    assert_eq!(world.clusters[0].replicas, Some(0));
    world.clusters[0].taint = None;
    world.rest();
    let after: Vec<Option<i64>> = world.clusters.iter().map(|c| c.replicas).collect();
    assert_eq!(after, before);
}

#[test]
fn a_new_cluster_takes_over_nothing_unless_rebalancing_is_asked_for() {
    let mut world = World::new(3);
    world.change(12);
    world.rest();
    let before: Vec<Option<i64>> = world.clusters.iter().map(|c| c.replicas).collect();
    world.clusters.push(Cluster::new("new".to_owned(), 40));
    world.rest();
    let old = world.clusters.len() - 1;
    let now: Vec<Option<i64>> = world.clusters[..old].iter().map(|c| c.replicas).collect();
    assert_eq!((now, world.clusters[old].replicas), (before, Some(0)));
    world.preferences.rebalance = true;
    world.rest();
    assert!(world.clusters[old].ready >= 2, "{:?}", world.plan);
    assert_eq!(world.ready(), 12);
}
