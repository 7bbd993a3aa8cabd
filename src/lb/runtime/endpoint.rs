//! One address that serves a backend, and what is known of it.
//!
//! Endpoints outlive snapshots: one that is in both the old and the new configuration keeps its health, latency and
//! connections. All state is atomic except the outlier record, which only failing endpoints touch.
//!
//! Two judgements are kept apart. An *unhealthy* endpoint gets no new requests: connections to it fail, or probes do. A
//! *dead* one is not even waited for any longer, and only probes that stay without an answer say so: an endpoint that
//! refuses new connections may well finish what it has begun, and one that is merely slow will answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use traffic::{balance, outlier};

use crate::model::Protocol;

/// Latency of an endpoint that has not answered yet, in seconds. Low, so that new endpoints are tried.
const UNKNOWN_LATENCY: f64 = 0.001;
/// Failed connections in a row, without an answer in between, that make an endpoint unhealthy before any probe does.
const CONNECT_FAILURES: u32 = 3;
/// Silent probes in a row that make an endpoint dead.
const SILENCES: u32 = 3;

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address.
    Socket(SocketAddr),
    /// A DNS name, resolved when connecting.
    Name(Arc<str>, u16),
}

impl Address {
    /// From a host that may be an address or a name.
    pub fn new(host: &str, port: u16) -> Self {
        host.parse().map_or_else(
            |_| Self::Name(host.into(), port),
            |ip| Self::Socket(SocketAddr::new(ip, port)),
        )
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// What makes two endpoints the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Address.
    pub address: Address,
    /// Protocol: connections of different protocols are not interchangeable.
    pub protocol: Protocol,
    /// The backend: health checks differ by backend.
    pub backend: Arc<str>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Process-wide number, key of connection pools.
    pub id: u64,
    /// Who it is.
    pub identity: Identity,
    /// Its address as text, for logs.
    pub shown: Arc<str>,
    /// Cluster it is in, for logs.
    pub cluster: Arc<str>,
    added_ms: u64,
    in_flight: AtomicU32,
    /// Peak-EWMA latency in seconds, as bits of an f64.
    latency: AtomicU64,
    latency_at_ms: AtomicU64,
    /// 0 while healthy, else when it failed (milliseconds, at least 1).
    failed_at_ms: AtomicU64,
    /// 0 while it is not dead, else since when (milliseconds, at least 1).
    dead_at_ms: AtomicU64,
    /// Connections that failed since one came about or a request was answered.
    connect_failures: AtomicU32,
    /// Probes in a row that were not answered at all.
    silences: AtomicU32,
    /// When it last answered a real request.
    answered_at_ms: AtomicU64,
    errors_in_a_row: AtomicU32,
    record: Mutex<outlier::Record>,
    successes: AtomicU64,
    requests: AtomicU64,
    ejected: AtomicU32,
    /// Probes that succeeded since it failed, or failed since it succeeded.
    streak: AtomicU32,
}

impl Endpoint {
    /// A new endpoint; `healthy` is what is believed until something is known.
    pub fn new(id: u64, identity: Identity, cluster: Arc<str>, now_ms: u64, healthy: bool) -> Self {
        Self {
            id,
            shown: identity.address.to_string().into(),
            identity,
            cluster,
            added_ms: now_ms,
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new(UNKNOWN_LATENCY.to_bits()),
            latency_at_ms: AtomicU64::new(now_ms),
            failed_at_ms: AtomicU64::new(if healthy { 0 } else { now_ms.max(1) }),
            dead_at_ms: AtomicU64::new(0),
            connect_failures: AtomicU32::new(0),
            silences: AtomicU32::new(0),
            answered_at_ms: AtomicU64::new(0),
            errors_in_a_row: AtomicU32::new(0),
            record: Mutex::default(),
            successes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            ejected: AtomicU32::new(0),
            streak: AtomicU32::new(0),
        }
    }

    /// Health checks and connections say it works.
    pub fn is_healthy(&self) -> bool {
        self.failed_at_ms.load(Relaxed) == 0
    }

    /// It works and is not ejected for bad answers.
    pub fn is_usable(&self) -> bool {
        self.is_healthy() && self.ejected.load(Relaxed) == 0
    }

    /// Since when it is dead, if it is.
    pub fn dead_at_ms(&self) -> Option<u64> {
        Some(self.dead_at_ms.load(Relaxed)).filter(|at| *at != 0)
    }

    /// When it last answered a request (0: never).
    pub fn answered_at_ms(&self) -> u64 {
        self.answered_at_ms.load(Relaxed)
    }

    /// A connection came about.
    pub fn connected(&self) {
        if self.connect_failures.load(Relaxed) != 0 {
            self.connect_failures.store(0, Relaxed);
        }
    }

    /// A connection begun at `began_ms` failed; true if that makes it unhealthy.
    pub fn connect_failed(&self, began_ms: u64, now_ms: u64) -> bool {
        // Busy, not gone: it answered others in the meantime.
        if self.answered_at_ms() > began_ms {
            return false;
        }
        self.connect_failures.fetch_add(1, Relaxed) + 1 >= CONNECT_FAILURES && self.fail(now_ms)
    }

    /// A probe was not answered; false once there were enough of them to call it dead.
    pub fn silent(&self, now_ms: u64) -> bool {
        let undecided = self.silences.fetch_add(1, Relaxed) + 1 < SILENCES;
        if !undecided {
            let _ = self.dead_at_ms.compare_exchange(0, now_ms.max(1), Relaxed, Relaxed);
        }
        undecided
    }

    /// A probe was answered, be it by a refusal.
    pub fn heard(&self) {
        self.silences.store(0, Relaxed);
        self.dead_at_ms.store(0, Relaxed);
    }

    fn fail(&self, now_ms: u64) -> bool {
        self.streak.store(0, Relaxed);
        self.failed_at_ms
            .compare_exchange(0, now_ms.max(1), Relaxed, Relaxed)
            .is_ok()
    }

    /// A probe's result; returns the new health if that changed it.
    pub fn probed(&self, works: bool, now_ms: u64, rise: u32, fall: u32) -> Option<bool> {
        if works == self.is_healthy() {
            self.streak.store(0, Relaxed);
            return None;
        }
        let streak = self.streak.fetch_add(1, Relaxed) + 1;
        if streak < if works { rise } else { fall } {
            return None;
        }
        self.streak.store(0, Relaxed);
        self.failed_at_ms.store(if works { 0 } else { now_ms.max(1) }, Relaxed);
        Some(works)
    }

    /// What the next request to it costs.
    pub fn cost(&self, now_ms: u64) -> f64 {
        let age = Duration::from_millis(now_ms.saturating_sub(self.added_ms));
        // Everything is new when the process is: then nothing is to be spared.
        let weight = if self.added_ms < 1000 {
            1.0
        } else {
            balance::slow_start(age, balance::SLOW_START_WINDOW, 1.0)
        };
        balance::cost(
            f64::from_bits(self.latency.load(Relaxed)),
            self.in_flight.load(Relaxed),
            weight,
        )
    }

    /// A request goes to it.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request to it is over.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// It answered; true if that makes it a candidate for ejection.
    pub fn answered(&self, now_ms: u64, latency: Duration, server_error: bool, policy: &outlier::Policy) -> bool {
        self.answered_at_ms.store(now_ms, Relaxed);
        self.connected();
        self.requests.fetch_add(1, Relaxed);
        let before = f64::from_bits(self.latency.load(Relaxed));
        let since = Duration::from_millis(now_ms.saturating_sub(self.latency_at_ms.swap(now_ms, Relaxed)));
        let after = balance::peak_ewma(before, latency.as_secs_f64(), since, balance::LATENCY_TAU);
        if after != before {
            self.latency.store(after.to_bits(), Relaxed);
        }
        if !server_error {
            self.successes.fetch_add(1, Relaxed);
            if self.errors_in_a_row.load(Relaxed) != 0 {
                self.errors_in_a_row.store(0, Relaxed);
                self.record.lock().answered(false, policy);
            }
            return false;
        }
        self.errors_in_a_row.fetch_add(1, Relaxed);
        self.record.lock().answered(true, policy)
    }

    /// Ejects it for bad answers.
    pub fn eject(&self, now: Duration, policy: &outlier::Policy) {
        self.record.lock().eject(now, policy);
        self.ejected.store(1, Relaxed);
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed) != 0
    }

    /// Lets it back when its time is over.
    pub fn sweep(&self, now: Duration) {
        let ejected = self.record.lock().sweep(now);
        self.ejected.store(u32::from(ejected), Relaxed);
    }

    /// (Successes, requests) since the last call.
    pub fn take_seen(&self) -> (u64, u64) {
        (self.successes.swap(0, Relaxed), self.requests.swap(0, Relaxed))
    }
}
