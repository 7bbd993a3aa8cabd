//! Field ownership: who set which field, on every kind of write.

use apimachinery::{
    Object,
    managed_fields::{ApplyRequest, UpdateRequest, track_update},
    status::Status,
};
use jiff::Timestamp;

use crate::{errors, patch::Target, registry::write::Write, request::options::WriteOptions};

/// Records in `object`, which is in the served version as `live` is, that the writer owns what differs from `live`.
pub(crate) fn track(write: &Write<'_>, live: Option<&Object>, object: &mut Object) {
    let request = UpdateRequest {
        live,
        manager: &write.options.field_manager,
        subresource: write.subresource,
        type_name: write.resource.def.type_name,
        now: write.now,
    };
    track_update(object, &request);
}

/// One server-side apply.
pub(crate) struct Apply<'a> {
    /// The object as it is, in the served version.
    pub(crate) live: Option<&'a Object>,
    /// What is applied, as it was sent.
    pub(crate) config: &'a Object,
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
/// 400 for a configuration of another kind, 409 for fields of others, 500 for a configuration that does not fit its
/// type.
pub(crate) fn apply(apply: &Apply<'_>) -> Result<Object, Status> {
    let text = |key: &str| {
        apply
            .config
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != apply.target.api_version || kind != apply.target.kind {
        let slash = if api_version.contains('/') { "" } else { "/" };
        return Err(errors::bad_request(format!(
            "invalid object type: {slash}{api_version}, Kind={kind}"
        )));
    }
    Ok(apimachinery::managed_fields::apply(ApplyRequest {
        live: apply.live,
        config: apply.config,
        manager: &apply.options.field_manager,
        force: apply.options.force,
        subresource: apply.subresource,
        type_name: apply.target.type_name,
        now: apply.now,
    })?)
}
