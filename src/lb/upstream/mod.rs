//! Connections to endpoints: opening, keeping, speaking HTTP over them.
//!
//! HTTP/1.1 is spoken here by a small codec instead of hyper's client, for the proxy's sake: the request's head is
//! written straight from the client's headers without copying or moving them (so that it can be sent again), no task
//! and no channel stand between the client's connection and the endpoint's, and it is known for certain whether a byte
//! of the response has arrived. HTTP/2 is hyper's.

pub mod body;
pub mod chunked;
pub mod connect;
pub mod exchange;
pub mod head;
pub mod pool;
pub mod stream;
pub mod waits;

pub use body::RequestBody;
pub use exchange::{Exchange, Failure};
