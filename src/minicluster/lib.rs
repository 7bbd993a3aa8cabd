//! A member cluster in one process: apiserver, workload controllers, scheduler, node agents, service proxy.
//!
//! All parts talk to the API server through its API, over TLS, so that scheduler, node agents and
//! service proxy serve a real API server just as well.

mod backoff;
mod context;
mod controllers;
mod events;
mod informer;
mod pods;
mod queue;
mod scheduler;
mod write;
