//! Kubernetes object machinery as pure functions.
//!
//! Objects are JSON values: the server must keep what it was given, field by field, and the
//! schema table ([`schema`]) says what each field is. Nothing here reads a clock, a random
//! source, a file or a socket; time and identifiers come in as arguments.

pub mod duration;
pub mod field;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod managed_fields;
pub mod meta;
pub mod names;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod text;
pub mod time;
pub mod validation;

/// A Kubernetes object, or any part of one, as JSON. Key order is kept.
pub type Object = serde_json::Value;
