//! Field ownership of writes that are no apply.

use apimachinery::Object;

use crate::registry::write::Write;

/// Records in `object` that the writer owns what differs from `live`.
pub(crate) fn track(_write: &Write<'_>, _live: Option<&Object>, _object: &mut Object) {}
