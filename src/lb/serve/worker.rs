//! A worker: one thread, one runtime, its own listeners, pools and lists.
//!
//! The kernel spreads connections over the workers' listening sockets (SO_REUSEPORT). A request is served by the
//! thread its connection arrived on from beginning to end, so nothing of it moves between cores.

use std::{
    net::TcpListener as StdListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Shared,
    conn::{self, Downstream},
};
use crate::{
    access_log::AccessLog,
    runtime::clock,
    upstream::{pool::Pool, waits::Waits},
};

/// Every how many ticks connections and pools are looked through: once a second.
const SWEEP_TICKS: u64 = 20;
/// Every how many ticks the access log is handed over.
const LOG_TICKS: u64 = 4;
/// Pause after an accept that failed for lack of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A worker's state.
#[derive(Debug)]
pub struct Worker {
    /// Which one it is, from 0.
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Kept connections to endpoints.
    pub pool: Pool,
    /// Requests that wait for endpoints.
    pub waits: Waits,
    /// Its part of the access log.
    pub log: Arc<AccessLog>,
    connections: Mutex<Vec<std::sync::Weak<Downstream>>>,
    open: AtomicUsize,
}

/// A listening socket of a worker.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: StdListener,
    /// TLS, if it is spoken there.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub fn new(index: usize, shared: Arc<Shared>, log: Arc<AccessLog>) -> Arc<Self> {
        Arc::new(Self {
            index,
            shared,
            pool: Pool::default(),
            waits: Waits::default(),
            log,
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
        })
    }

    /// A connection was opened.
    pub fn opened(&self, downstream: &Arc<Downstream>) {
        self.connections.lock().push(Arc::downgrade(downstream));
        self.open.fetch_add(1, Relaxed);
        self.shared.metrics.connections_active.inc();
    }

    /// A connection was closed.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
        self.shared.metrics.connections_active.dec();
    }

    fn sweep(&self, now_ms: u64) {
        let idle = self.shared.settings.upstream_idle_timeout.as_millis() as u64;
        self.pool.sweep(now_ms.saturating_sub(idle));
        let draining = self.shared.draining.is_cancelled();
        self.connections.lock().retain(|connection| match connection.upgrade() {
            Some(connection) => {
                connection.sweep(now_ms, draining);
                true
            }
            None => false,
        });
    }

    /// Serves until the stop and until every connection has gone or the drain time is over.
    pub async fn run(self: Arc<Self>, listeners: Vec<Listening>) -> std::io::Result<()> {
        for listening in listeners {
            let socket = tokio::net::TcpListener::from_std(listening.socket)?;
            tokio::spawn(accept(Arc::clone(&self), socket, listening.tls));
        }
        let ticker = tokio::spawn(Arc::clone(&self).tick());
        self.shared.draining.cancelled().await;
        self.sweep(self.shared.clock.now_ms());
        let drained = async {
            while self.open.load(Relaxed) > 0 {
                tokio::time::sleep(clock::RESOLUTION).await;
                self.sweep(self.shared.clock.now_ms());
            }
        };
        if tokio::time::timeout(self.shared.settings.drain_timeout, drained)
            .await
            .is_err()
        {
            tracing::warn!(
                worker = self.index,
                connections = self.open.load(Relaxed),
                "drain time is over, cutting what is open"
            );
            self.shared.killed.cancel();
            self.sweep(u64::MAX);
            tokio::task::yield_now().await;
        }
        ticker.abort();
        self.log.flush();
        Ok(())
    }

    async fn tick(self: Arc<Self>) {
        let mut interval = tokio::time::interval(clock::RESOLUTION);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0u64.. {
            interval.tick().await;
            self.shared.clock.tick();
            let now_ms = self.shared.clock.now_ms();
            self.waits.sweep(now_ms);
            if tick % LOG_TICKS == 0 {
                self.log.flush();
            }
            if tick % SWEEP_TICKS == 0 {
                self.sweep(now_ms);
            }
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: tokio::net::TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    let draining = worker.shared.draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                worker.shared.metrics.connections.inc();
                tokio::spawn(conn::run(Arc::clone(&worker), stream, peer, acceptor.clone()));
            }
            Err(error) => {
                // Most are the client's doing; out of descriptors is ours, and passes when connections close.
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
