//! Tests over real sockets: clients and endpoints are scripted, the configuration is given.

mod api;
mod bodies;
mod busy;
mod failover;
mod framing;
mod hostile;
mod http2;
mod idle;
mod lifecycle;
mod routing;
mod support;
mod upgrade;
