//! Listeners, workers and connections of clients.

pub mod conn;
pub mod io;
pub mod listen;
pub mod shared;
pub mod worker;

pub use shared::{Settings, Shared};
