//! Listeners, workers and connections of clients.

pub mod conn;
mod http1;
pub mod io;
pub mod listen;
pub mod shared;
pub mod worker;

pub use shared::{Settings, Shared};
