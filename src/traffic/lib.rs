//! Traffic decisions as pure functions: routing, locating clients, the geo-waterfall, retries, outlier ejection.
//!
//! The load balancer (`lb`) does the I/O around these; `kubefed traffic` runs them offline. Nothing here reads a clock,
//! a random source or a socket: time is a `Duration` since a moment of the caller's choice, randomness an argument.

pub mod balance;
pub mod control;
pub mod geo;
pub mod locate;
pub mod order;
pub mod outlier;
pub mod pick;
pub mod places;
pub mod retry;
pub mod route;
pub mod scenario;
pub mod waterfall;
