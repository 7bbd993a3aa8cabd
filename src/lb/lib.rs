//! The global L7 load balancer.
//!
//! Every Ingress of the federation is served here: a client's location picks the cluster, and traffic spills to the next
//! nearest one when a cluster is unhealthy or full. The decisions are those of the crate `traffic`; this crate does the
//! I/O around them:
//!
//! * [`watch`] keeps the federation API's objects, [`model`] says what they mean, [`runtime`] publishes it;
//! * [`serve`] accepts connections, [`proxy`] serves requests, [`upstream`] speaks with endpoints;
//! * [`health`] and [`control`] keep endpoints' health and clusters' shares current;
//! * [`geo`] locates clients, [`tls`] has certificates, [`access_log`] and [`metrics`] tell what happens.

pub mod access_log;
mod args;
pub mod control;
pub mod geo;
pub mod health;
pub mod metrics;
pub mod model;
pub mod proxy;
pub mod runtime;
pub mod serve;
mod start;
mod status;
pub mod tls;
pub mod upstream;
pub mod watch;

pub use args::Args;
pub use start::{Error, Running, run, start};

/// An error with all its causes, for logs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod journeys;
