//! What most strategies share: who owns status, when generation grows.

use apimachinery::Object;
use serde_json::Value;

use crate::json::{int, map_mut, put};

/// A new object has no status yet.
pub(crate) fn drop_status(object: &mut Object) {
    crate::json::remove(object, "status");
}

/// A new object is of generation 1.
pub(crate) fn first_generation(object: &mut Object) {
    put(map_mut(object, "metadata"), "generation", 1.into());
}

/// The main endpoint never changes the status.
pub(crate) fn keep_status(object: &mut Object, old: &Object) {
    put(object, "status", old["status"].clone());
}

/// `/status` changes nothing but the status (and what every write changes: resourceVersion, managedFields).
pub(crate) fn keep_all_but_status(object: &mut Object, old: &Object) {
    let status = object["status"].take();
    let mut kept = old.clone();
    for key in [
        "resourceVersion",
        "managedFields",
        "finalizers",
        "annotations",
        "labels",
        "ownerReferences",
    ] {
        let sent = object["metadata"][key].clone();
        put(map_mut(&mut kept, "metadata"), key, sent);
    }
    put(&mut kept, "status", status);
    *object = kept;
}

/// Generation grows by one when the wish changed.
pub(crate) fn grow_generation(object: &mut Object, old: &Object, changed: bool) {
    let generation = int(&old["metadata"]["generation"]);
    let next = if changed { generation + 1 } else { generation };
    let value = if next == 0 { Value::Null } else { next.into() };
    put(map_mut(object, "metadata"), "generation", value);
}

/// The usual rule: status kept, generation grows with the spec.
pub(crate) fn update_with_generation(object: &mut Object, old: &Object) {
    keep_status(object, old);
    let changed = object["spec"] != old["spec"];
    grow_generation(object, old, changed);
}

/// The usual rule for new objects: no status, generation 1.
pub(crate) fn create_with_generation(object: &mut Object) {
    drop_status(object);
    first_generation(object);
}
