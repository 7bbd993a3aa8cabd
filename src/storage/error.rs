//! Why an operation on a store fails.

use crate::{KeyValue, Revision};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key exists already.
    #[error("key {key} exists already")]
    AlreadyExists {
        /// The key.
        key: String,
    },
    /// The key does not exist.
    #[error("key {key} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The key is not at the expected revision any more.
    #[error("key {key} was changed at revision {}", current.modified.0)]
    Conflict {
        /// The key.
        key: String,
        /// What it is now.
        current: Box<KeyValue>,
    },
    /// The revision has been compacted away.
    #[error("revision {} is compacted, the oldest is {}", wanted.0, oldest.0)]
    Compacted {
        /// What was asked for.
        wanted: Revision,
        /// The oldest that is still there.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {} is in the future, the newest is {}", wanted.0, current.0)]
    Future {
        /// What was asked for.
        wanted: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// The value is larger than the store takes.
    #[error("value of {size} bytes for {key} is larger than {limit} bytes")]
    TooLarge {
        /// The key.
        key: String,
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The store itself failed: disk full, connection lost.
    #[error("cannot {operation}")]
    Backend {
        /// What was being done.
        operation: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failure of the store itself, with its cause.
    pub fn backend(operation: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Backend {
            operation: operation.into(),
            source: source.into(),
        }
    }
}
