//! What requests read and write while they are served: the published snapshot, endpoints, origins, counters.

pub mod clock;
pub mod endpoint;
pub mod origin;
pub mod publish;
pub mod snapshot;
pub mod steer;

pub use clock::Clock;
pub use endpoint::Endpoint;
pub use snapshot::{Backend, Member, Snapshot};
