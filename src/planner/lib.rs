//! Replica placement as pure functions.
