//! Managed fields of the scale subresource.
//!
//! A Scale has the replicas of its parent under another path. Ownership of it is translated when a Scale is read
//! out of its parent, and translated back when it was written.

use serde_json::Value;

use super::{
    managers::{DecodeError, Managers, Owned},
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
/// As in kube, an updater that still has the replicas gets an entry of its own for them, without a time: on the way
/// through the Scale its version, and so its identity, is lost.
///
/// # Errors
/// When one of them cannot be read.
pub fn scale_to_parent(
    parent: &[Value],
    scale: &[Value],
    parent_version: &str,
    replicas_path: &Path,
) -> Result<Vec<Value>, DecodeError> {
    let before = Managers::decode(parent)?;
    let mut of_scale = Managers::decode(scale)?;
    let mut own = FieldSet::default();
    own.insert(&replicas_path.0);
    let mut after = before.clone();
    for (manager, owned) in &mut after.0 {
        let had = owned.fields.contains(&replicas_path.0);
        if had && of_scale.0.remove(manager).is_none() {
            owned.fields = owned.fields.difference(&own);
        }
    }
    after.0.retain(|_, owned| !owned.fields.is_empty());
    let wanted = replicas();
    let added = of_scale
        .0
        .into_iter()
        .filter(|(_, owned)| !owned.fields.intersection(&wanted).is_empty());
    for (manager, _) in added {
        let time = before.0.get(&manager).and_then(|owned| owned.time);
        after.0.insert(
            manager,
            Owned {
                api_version: parent_version.to_owned(),
                fields: own.clone(),
                time,
            },
        );
    }
    Ok(after.encode())
}
