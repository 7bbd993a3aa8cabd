//! What the black-box journeys are made of: a local federation, kubectl, clients, and one way to wait.
//!
//! Everything here drives the released binaries from outside, as a user would; nothing of the product is linked in.

mod client;
mod federation;
mod wait;

pub use client::{Answer, get};
pub use federation::{CLUSTERS, Federation, Kubernetes, Output, binary, kubectl_path};
pub use wait::eventually;
