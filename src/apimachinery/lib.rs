//! Kubernetes object machinery as pure functions.
//!
//! Objects are JSON values: the server must keep what it was given, field by field, and the
//! schema table ([`schema`]) says what each field is. Nothing here reads a clock, a random
//! source, a file or a socket; time and identifiers come in as arguments.

pub mod field;
pub mod names;
pub mod protobuf;
pub mod schema;
pub mod status;

/// A Kubernetes object, or any part of one, as JSON. Key order is kept.
pub type Object = serde_json::Value;
