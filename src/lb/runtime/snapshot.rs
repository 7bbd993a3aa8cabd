//! The immutable whole that a request reads once: routes, backends, clusters.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use http::HeaderValue;
use parking_lot::Mutex;
use traffic::{balance, control::Control, route::Routes, waterfall::Options};

use super::{
    Endpoint,
    origin::{Origin, Origins},
    steer::{Row, Table},
};
use crate::{metrics::MemberCounters, model};

/// What is served now.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: u64,
    /// Host and path to an index into `targets`.
    pub routes: Routes<usize>,
    /// What routes lead to.
    pub targets: Vec<model::Target>,
    /// Service ports.
    pub backends: Vec<Arc<Backend>>,
    /// Clusters in configuration order.
    pub clusters: Vec<Cluster>,
    /// Origins of clients.
    pub origins: Option<Arc<Origins>>,
}

/// A cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name.
    pub name: Arc<str>,
    /// Its name as the value of X-LB-Cluster.
    pub header: HeaderValue,
    /// Factor on its capacity.
    pub scaler: f64,
    /// It is to get no new requests.
    pub draining: bool,
}

/// A service port.
#[derive(Debug)]
pub struct Backend {
    /// Its name in logs, metrics and messages.
    pub key: Arc<str>,
    /// Why it cannot be served, if it cannot.
    pub problem: Option<model::Problem>,
    /// How it is served.
    pub settings: model::Settings,
    /// By cluster index; `None` where the service is not.
    pub members: Vec<Option<Member>>,
    /// Published shares.
    pub table: arc_swap::ArcSwap<Table>,
    /// The loop that makes them.
    pub(crate) control: Mutex<Control<usize>>,
    /// Policies of the waterfall.
    pub(crate) options: Options,
    active: AtomicU32,
    retries: AtomicU32,
}

/// A backend in one cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// Addresses.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Pods that are ready behind them.
    pub ready: f64,
    /// Pods behind them.
    pub total: f64,
    /// Counters of requests served.
    pub counters: Arc<MemberCounters>,
}

impl Member {
    /// Part of the endpoints that is usable.
    pub fn usable_part(&self) -> f64 {
        if self.endpoints.is_empty() {
            return 0.0;
        }
        self.endpoints.iter().filter(|endpoint| endpoint.is_usable()).count() as f64 / self.endpoints.len() as f64
    }

    /// A usable endpoint, none of those to `avoid`: by power of two choices, or the one a client belongs to.
    pub fn pick(&self, now_ms: u64, random: u64, client: Option<u64>, avoid: &[u64]) -> Option<&Arc<Endpoint>> {
        let usable = |endpoint: &&Arc<Endpoint>| endpoint.is_usable() && !avoid.contains(&endpoint.id);
        if let Some(client) = client {
            let candidates: Vec<&Arc<Endpoint>> = self.endpoints.iter().filter(usable).collect();
            let chosen = balance::rendezvous(client, candidates.iter().map(|endpoint| endpoint.id))?;
            return candidates.get(chosen).copied();
        }
        let index = balance::pick_two(self.endpoints.len(), random, |index| {
            let endpoint = &self.endpoints[index];
            if usable(&endpoint) {
                endpoint.cost(now_ms)
            } else {
                f64::INFINITY
            }
        })?;
        let chosen = &self.endpoints[index];
        if usable(&chosen) {
            Some(chosen)
        } else {
            self.endpoints.iter().find(usable)
        }
    }
}

impl Backend {
    /// A backend without memory.
    pub fn new(
        key: Arc<str>,
        problem: Option<model::Problem>,
        settings: model::Settings,
        members: Vec<Option<Member>>,
        control: Control<usize>,
    ) -> Self {
        let options = Options {
            overload: settings.overload,
            ..Options::default()
        };
        Self {
            key,
            problem,
            settings,
            members,
            table: arc_swap::ArcSwap::default(),
            control: Mutex::new(control),
            options,
            active: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }

    /// Whether any cluster has an address for it.
    pub fn has_endpoints(&self) -> bool {
        self.members.iter().flatten().any(|member| !member.endpoints.is_empty())
    }

    /// A request begins.
    pub fn begin(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// A request is over.
    pub fn end(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    /// Requests being served.
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Takes a retry out of the budget; false if it is used up. [`Self::end_retry`] gives it back.
    pub fn begin_retry(&self) -> bool {
        let within = self.retries.fetch_add(1, Relaxed) < traffic::retry::budget(self.active());
        if !within {
            self.end_retry();
        }
        within
    }

    /// Gives a retry back.
    pub fn end_retry(&self) {
        self.retries.fetch_sub(1, Relaxed);
    }

    /// The row of an origin, if it has been planned for.
    pub fn row(table: &Table, origin: &Origin) -> Option<Arc<Row>> {
        table.rows.get(origin.id).and_then(Clone::clone)
    }
}
