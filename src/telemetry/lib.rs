//! Logs, metrics, health endpoints and clean shutdown, the same for every process.
//!
//! Nothing here knows what a process does. A process owns one [`Health`] and one [`Metrics`], registers its
//! checks and collectors, and serves both with [`router`] or from its own server.

mod address;
mod health;
mod logs;
mod metrics;
mod process;
mod router;
mod shutdown;

pub use address::socket_address;
pub use health::{Answer, Check, CheckFuture, Endpoint, Health};
pub use logs::{InitLogsError, LogArgs, LogFormat, init_logs};
pub use metrics::Metrics;
pub use router::router;
pub use shutdown::shutdown_signal;
