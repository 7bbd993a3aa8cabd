//! Clients of the federation and of its members, informers, work queues, leader election.
//!
//! Requests go through `kube`'s client (kubeconfig, TLS, authentication); what is added here is what a
//! federation needs of it: HTTP/2 with keep-alive pings so that a half-open member is noticed, a timeout on
//! every request, a circuit breaker per member, and informers that keep a reduced form of each object instead
//! of the object. Objects are JSON values, so that fields nobody knew when this was built survive.

pub mod backoff;
pub mod breaker;
pub mod connect;
pub mod error;
pub mod events;
pub mod informer;
pub mod lease;
pub mod member;
pub mod queue;
pub mod resources;
pub mod rest;

pub use error::Error;
pub use informer::{Change, Informer, Key, Store};
pub use queue::Queue;
pub use rest::{Resource, Rest};
