//! Patches: JSON Patch, JSON Merge Patch and strategic merge patch, as kube-apiserver applies them.

mod json;
mod merge;
mod strategic;

pub use json::{OperationError, json_patch};
pub use merge::merge_patch;
pub use strategic::{StrategicError, strategic_merge};

use crate::status::Status;

/// Operations that one JSON patch may have.
pub const OPERATIONS_MAX: usize = 10_000;

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body is no patch.
    #[error("{0}")]
    Undecodable(String),
    /// More operations than are allowed.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
    /// An operation of a JSON patch does not apply.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// A strategic merge patch does not apply.
    #[error(transparent)]
    Strategic(#[from] StrategicError),
}

impl PatchError {
    /// What the client is told. Kube keeps to itself which operation failed, and answers 500 without a reason to
    /// strategic merge patches that do not fit the object.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let unprocessable = "the server rejected our request due to an error in our request";
        match self {
            Self::Undecodable(why) => Status::bad_request(why.clone()),
            Self::TooManyOperations(_) => Status::request_entity_too_large(&self.to_string()),
            Self::Operation(_) | Self::Strategic(StrategicError::ListOfLists) => Status::unprocessable(unprocessable),
            Self::Strategic(error) if error.is_bad_request() => Status::bad_request(error.to_string()),
            Self::Strategic(error) => Status::failure(500, "", error.to_string()),
        }
    }
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Self {
        error.to_status()
    }
}
