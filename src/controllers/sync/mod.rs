//! Propagation of federated objects: observe → validate → plan → apply → report, for every kind alike.
//!
//! Two kinds of queues. The *plan* queue holds federated objects: a look at one decides what each cluster is to
//! have ([`planner::placement`]), wakes the queues of the members that differ, and merges their statuses. A *member's*
//! queue holds the objects to be written to that member. So a member that is slow, dead or refuses delays its
//! own queue only; its absence is an input of the next plan, never a wait.
//!
//! # Guarantees
//! Steady state writes nothing. Nothing is deleted in a member but on a user's deletion of the federated object or
//! because its selector excludes the cluster. What is not ours is not touched unless the object says `adopt`.

mod apply;
mod autoscaled;
pub mod configs;
mod deletion;
mod engine;
pub mod federated;
pub mod kinds;
pub mod observe;
pub mod payload;
pub mod pods;
mod report;
mod returns;
pub mod rooms;
pub mod status;
#[cfg(test)]
mod tests;
pub mod tombstones;
mod views;
pub mod waves;

use client::Key;

pub use engine::{Engine, Parts, Settings};

/// A federated object: its kind and its name.
pub type SyncKey = (kinds::KindIndex, Key);
