//! Kept connections to endpoints, per worker, last in first out.
//!
//! The most recently used connection is the least likely to be closed by the other side, and the others age and go.

use std::collections::BTreeMap;

use hyper::client::conn::http2;
use parking_lot::Mutex;

use super::{RequestBody, exchange::Connection};

/// Idle connections kept per endpoint and worker.
const MOST_IDLE: usize = 256;

/// A worker's pool, by endpoint id.
#[derive(Debug, Default)]
pub struct Pool {
    // Endpoints are few and their ids small: comparing costs less than hashing.
    idle: Mutex<BTreeMap<u64, Vec<Idle>>>,
    shared: Mutex<BTreeMap<u64, http2::SendRequest<RequestBody>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since_ms: u64,
}

impl Pool {
    /// A connection that is still open, if there is one.
    pub fn take(&self, endpoint: u64) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let connections = idle.get_mut(&endpoint)?;
        while let Some(mut kept) = connections.pop() {
            if kept.connection.stream.is_quiet() {
                return Some(kept.connection);
            }
        }
        None
    }

    /// Keeps a connection.
    pub fn put(&self, endpoint: u64, connection: Connection, now_ms: u64) {
        let mut idle = self.idle.lock();
        let connections = idle.entry(endpoint).or_default();
        if connections.len() < MOST_IDLE {
            connections.push(Idle {
                connection,
                since_ms: now_ms,
            });
        }
    }

    /// Closes the connections of an endpoint that broke one.
    pub fn clear(&self, endpoint: u64) {
        self.idle.lock().remove(&endpoint);
        self.shared.lock().remove(&endpoint);
    }

    /// Closes connections that have been idle since before `oldest_ms`, or that the other side closed.
    pub fn sweep(&self, oldest_ms: u64) {
        self.idle.lock().retain(|_, connections| {
            connections.retain_mut(|kept| kept.since_ms >= oldest_ms && kept.connection.stream.is_quiet());
            !connections.is_empty()
        });
        self.shared.lock().retain(|_, sender| !sender.is_closed());
    }

    /// The shared HTTP/2 connection of an endpoint, if there is one.
    pub fn shared(&self, endpoint: u64) -> Option<http2::SendRequest<RequestBody>> {
        self.shared
            .lock()
            .get(&endpoint)
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    /// Shares an HTTP/2 connection.
    pub fn share(&self, endpoint: u64, sender: http2::SendRequest<RequestBody>) {
        self.shared.lock().insert(endpoint, sender);
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.idle.lock().values().map(Vec::len).sum()
    }
}
