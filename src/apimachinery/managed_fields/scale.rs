//! Managed fields of the scale subresource.
//!
//! A Scale has the replicas of its parent under another path. Ownership of it is translated when a Scale is read
//! out of its parent, and translated back when it was written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    managers::{DecodeError, Manager, Managers, Operation, Owned},
    path::Path,
    set::FieldSet,
};

const SCALE_VERSION: &str = "autoscaling/v1";

fn replicas() -> FieldSet {
    FieldSet::of_fields(&[&["spec", "replicas"]])
}

/// The managed fields that a Scale shows, from those of its parent.
///
/// # Errors
/// When the parent's cannot be read.
pub fn scale_to_subresource(parent: &[Value], replicas_path: &Path) -> Result<Vec<Value>, DecodeError> {
    let mut managers = Managers::decode(parent)?;
    managers.0.retain(|_, owned| owned.fields.contains(&replicas_path.0));
    for owned in managers.0.values_mut() {
        *owned = Owned {
            api_version: SCALE_VERSION.to_owned(),
            fields: replicas(),
            time: owned.time,
        };
    }
    Ok(managers.encode())
}

/// The managed fields of the parent, from what they were and those of the written Scale.
///
/// # Errors
/// When one of them cannot be read.
pub fn scale_to_parent(
    parent: &[Value],
    scale: &[Value],
    parent_version: &str,
    replicas_path: &Path,
) -> Result<Vec<Value>, DecodeError> {
    let mut managers = Managers::decode(parent)?;
    let wanted = replicas();
    let of_scale: BTreeMap<_, _> = Managers::decode(scale)?
        .0
        .into_iter()
        .filter(|(_, owned)| !owned.fields.intersection(&wanted).is_empty())
        .map(|(manager, owned)| (in_version(manager, parent_version), owned))
        .collect();
    let mut own = FieldSet::default();
    own.insert(&replicas_path.0);
    // Whoever had the replicas has them still only if the Scale says so.
    for (manager, owned) in &mut managers.0 {
        if !of_scale.contains_key(manager) {
            owned.fields = owned.fields.difference(&own);
        }
    }
    managers.0.retain(|_, owned| !owned.fields.is_empty());
    for (manager, of_scale) in of_scale {
        let fresh = Owned {
            api_version: parent_version.to_owned(),
            fields: FieldSet::default(),
            time: of_scale.time,
        };
        managers.0.entry(manager).or_insert(fresh).fields.extend(&own);
    }
    Ok(managers.encode())
}

/// The same manager in the parent's version.
fn in_version(mut manager: Manager, version: &str) -> Manager {
    if manager.operation == Operation::Update {
        manager.api_version = version.to_owned();
    }
    manager
}
