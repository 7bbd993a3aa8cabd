//! Ownership of fields: server-side apply, and the tracking of every other write.
//!
//! `metadata.managedFields` says which manager owns which fields. [`apply`] merges a configuration into an object:
//! the applier owns what it applies, fields it stops applying go unless others own them too, and fields of others
//! are not changed unless forced. [`track_update`] gives every other writer what it changed.
//!
//! The semantics are those of structured-merge-diff as kube-apiserver uses it. Objects go in as the API writes them
//! (canonical: fields that are always written are there). One simplification: all of an object's managers are
//! compared in the version of the request, as if paths were the same in every version.

mod apply;
mod client_side;
mod compare;
mod conflict;
mod field_set_of;
mod managers;
mod merge;
mod ownership;
mod path;
mod remove;
mod scale;
mod set;
mod shape;
mod system_fields;
mod track;
mod validate;

pub use apply::{ApplyError, ApplyRequest, apply};
pub use conflict::{Conflict, Conflicts};
pub use managers::{DecodeError, Manager, Operation};
pub use path::{Path, PathElement, Scalar};
pub use scale::{scale_to_parent, scale_to_subresource};
pub use set::FieldSet;
pub use track::{UpdateRequest, keep_reset, keep_times_if_unchanged, track_update};

use crate::{Object, meta, schema::Schema};

/// What an object of a type is before anything is written to it: kind, and the fields that are always there.
fn empty_object(like: &Object, type_name: &str) -> Object {
    let mut empty = serde_json::json!({"apiVersion": meta::api_version(like), "kind": meta::kind(like)});
    if let Some(ty) = Schema::global().type_by_name(type_name) {
        Schema::global().check_type(ty, &mut empty);
    }
    empty
}

fn without_managed_fields(object: &Object) -> Object {
    let mut bare = object.clone();
    meta::remove(&mut bare, "managedFields");
    bare
}

#[cfg(test)]
mod tests;
