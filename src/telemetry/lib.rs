//! Logs, metrics, health endpoints and clean shutdown, the same for every process.
