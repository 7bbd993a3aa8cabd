//! Object metadata: reading and writing `metadata` of a JSON object.
//!
//! Objects come from clients and may have any shape. Reading something that is missing or of the wrong type
//! gives the empty value, as an unset field would; writing replaces what is in the way. Nothing here panics.

use serde_json::{Map, Value, json};

use crate::Object;

/// The finalizer of foreground deletion: wait for the dependents first.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// The finalizer of orphaning: cut the dependents loose first.
pub const ORPHAN_FINALIZER: &str = "orphan";

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("")
}

fn meta_text<'a>(object: &'a Object, key: &str) -> &'a str {
    get(object, key).and_then(Value::as_str).unwrap_or("")
}

/// A field of `metadata`; null counts as missing.
#[must_use]
pub fn get<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(key).filter(|value| !value.is_null())
}

/// `apiVersion`, as `apps/v1`; empty if missing.
#[must_use]
pub fn api_version(object: &Object) -> &str {
    text(object, "apiVersion")
}

/// `kind`; empty if missing.
#[must_use]
pub fn kind(object: &Object) -> &str {
    text(object, "kind")
}

/// Group and version of an apiVersion: `apps/v1` is (`apps`, `v1`), `v1` is (empty, `v1`).
#[must_use]
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// apiVersion of a group and a version.
#[must_use]
pub fn join_api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// `metadata.name`; empty if missing.
#[must_use]
pub fn name(object: &Object) -> &str {
    meta_text(object, "name")
}

/// `metadata.generateName`; empty if missing.
#[must_use]
pub fn generate_name(object: &Object) -> &str {
    meta_text(object, "generateName")
}

/// `metadata.namespace`; empty if missing, as in cluster-scoped objects.
#[must_use]
pub fn namespace(object: &Object) -> &str {
    meta_text(object, "namespace")
}

/// `metadata.uid`; empty if missing.
#[must_use]
pub fn uid(object: &Object) -> &str {
    meta_text(object, "uid")
}

/// `metadata.resourceVersion`; empty if missing. Opaque to clients.
#[must_use]
pub fn resource_version(object: &Object) -> &str {
    meta_text(object, "resourceVersion")
}

/// `metadata.generation`; 0 if missing.
#[must_use]
pub fn generation(object: &Object) -> i64 {
    get(object, "generation").and_then(Value::as_i64).unwrap_or(0)
}

/// `metadata.creationTimestamp`; empty if missing.
#[must_use]
pub fn creation_timestamp(object: &Object) -> &str {
    meta_text(object, "creationTimestamp")
}

/// `metadata.deletionTimestamp`: when the object was asked to go; `None` if it was not.
#[must_use]
pub fn deletion_timestamp(object: &Object) -> Option<&str> {
    get(object, "deletionTimestamp").and_then(Value::as_str)
}

/// Whether the object was asked to go and waits for finalizers or its grace period.
#[must_use]
pub fn is_being_deleted(object: &Object) -> bool {
    deletion_timestamp(object).is_some()
}

/// Entries of a map of strings, such as labels; entries that are not strings are left out.
pub fn string_entries(map: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// `metadata.labels`.
pub fn labels(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    string_entries(get(object, "labels"))
}

/// A label's value.
#[must_use]
pub fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    get(object, "labels")?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    string_entries(get(object, "annotations"))
}

/// An annotation's value.
#[must_use]
pub fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    get(object, "annotations")?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Object) -> impl Iterator<Item = &str> {
    strings(get(object, "finalizers"))
}

/// Whether the object has a finalizer.
#[must_use]
pub fn has_finalizer(object: &Object, finalizer: &str) -> bool {
    finalizers(object).any(|f| f == finalizer)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Object) -> impl Iterator<Item = OwnerReference<'_>> {
    get(object, "ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(OwnerReference)
}

/// The owner that is the object's controller.
#[must_use]
pub fn controller_of(object: &Object) -> Option<OwnerReference<'_>> {
    owner_references(object).find(OwnerReference::is_controller)
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnerReference<'a>(pub &'a Value);

impl<'a> OwnerReference<'a> {
    /// `apiVersion` of the owner.
    #[must_use]
    pub fn api_version(&self) -> &'a str {
        text(self.0, "apiVersion")
    }

    /// `kind` of the owner.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        text(self.0, "kind")
    }

    /// Name of the owner.
    #[must_use]
    pub fn name(&self) -> &'a str {
        text(self.0, "name")
    }

    /// Uid of the owner: what garbage collection goes by.
    #[must_use]
    pub fn uid(&self) -> &'a str {
        text(self.0, "uid")
    }

    /// Whether the owner manages the object.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.0.get("controller").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether a foreground deletion of the owner waits for the object.
    #[must_use]
    pub fn blocks_owner_deletion(&self) -> bool {
        self.0
            .get("blockOwnerDeletion")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }
}

/// The reference by which `owner` controls and outlives its dependents.
#[must_use]
pub fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": api_version(owner),
        "kind": kind(owner),
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    as_map(value).entry(key).or_insert(Value::Null)
}

/// `metadata` for writing; made if it is missing or not an object.
pub fn ensure(object: &mut Object) -> &mut Map<String, Value> {
    as_map(child(object, "metadata"))
}

/// Sets a field of `metadata`.
pub fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    ensure(object).insert(key.to_owned(), value.into());
}

/// Removes a field of `metadata`; the other fields keep their order.
pub fn remove(object: &mut Object, key: &str) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove(key)
}

/// Sets a field of `metadata`, or removes it if the text is empty.
fn set_or_remove(object: &mut Object, key: &str, value: &str) {
    if value.is_empty() {
        remove(object, key);
    } else {
        set(object, key, value);
    }
}

/// Sets `metadata.name`.
pub fn set_name(object: &mut Object, name: &str) {
    set_or_remove(object, "name", name);
}

/// Sets `metadata.namespace`; empty removes it.
pub fn set_namespace(object: &mut Object, namespace: &str) {
    set_or_remove(object, "namespace", namespace);
}

/// Sets `metadata.uid`; empty removes it.
pub fn set_uid(object: &mut Object, uid: &str) {
    set_or_remove(object, "uid", uid);
}

/// Sets `metadata.resourceVersion`; empty removes it.
pub fn set_resource_version(object: &mut Object, version: &str) {
    set_or_remove(object, "resourceVersion", version);
}

/// Sets `metadata.generation`; 0 removes it.
pub fn set_generation(object: &mut Object, generation: i64) {
    if generation == 0 {
        remove(object, "generation");
    } else {
        set(object, "generation", generation);
    }
}

/// Sets `metadata.creationTimestamp`, in seconds.
pub fn set_creation_timestamp(object: &mut Object, at: jiff::Timestamp) {
    set(object, "creationTimestamp", crate::time::format(at));
}

/// Sets `metadata.deletionTimestamp`, in seconds.
pub fn set_deletion_timestamp(object: &mut Object, at: jiff::Timestamp) {
    set(object, "deletionTimestamp", crate::time::format(at));
}

/// Sets a label.
pub fn set_label(object: &mut Object, key: &str, value: &str) {
    as_map(ensure(object).entry("labels").or_insert(Value::Null)).insert(key.to_owned(), value.into());
}

/// Sets an annotation.
pub fn set_annotation(object: &mut Object, key: &str, value: &str) {
    as_map(ensure(object).entry("annotations").or_insert(Value::Null)).insert(key.to_owned(), value.into());
}

/// Removes an entry of a map in `metadata`, and the map with its last entry.
fn remove_entry(object: &mut Object, field: &str, key: &str) -> Option<String> {
    let map = object.get_mut("metadata")?.get_mut(field)?.as_object_mut()?;
    let old = map.shift_remove(key)?;
    if map.is_empty() {
        remove(object, field);
    }
    old.as_str().map(str::to_owned)
}

/// Removes a label.
pub fn remove_label(object: &mut Object, key: &str) -> Option<String> {
    remove_entry(object, "labels", key)
}

/// Removes an annotation.
pub fn remove_annotation(object: &mut Object, key: &str) -> Option<String> {
    remove_entry(object, "annotations", key)
}

/// Adds a finalizer unless it is there; tells whether it was added.
pub fn add_finalizer(object: &mut Object, finalizer: &str) -> bool {
    if has_finalizer(object, finalizer) {
        return false;
    }
    let list = ensure(object).entry("finalizers").or_insert(Value::Null);
    match list {
        Value::Array(items) => items.push(finalizer.into()),
        other => *other = json!([finalizer]),
    }
    true
}

/// Removes a finalizer, and the list with its last one; tells whether it was there.
pub fn remove_finalizer(object: &mut Object, finalizer: &str) -> bool {
    let Some(Value::Array(items)) = object.get_mut("metadata").and_then(|m| m.get_mut("finalizers")) else {
        return false;
    };
    let before = items.len();
    items.retain(|item| item.as_str() != Some(finalizer));
    let removed = items.len() < before;
    if items.is_empty() {
        remove(object, "finalizers");
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_malformed_metadata_gives_empty_values() {
        for object in [
            json!(null),
            json!([]),
            json!({"metadata": 3}),
            json!({"metadata": {"name": 1, "labels": []}}),
        ] {
            assert_eq!(name(&object), "");
            assert_eq!(generation(&object), 0);
            assert_eq!(labels(&object).count(), 0);
            assert_eq!(owner_references(&object).count(), 0);
            assert_eq!(deletion_timestamp(&object), None);
        }
    }

    #[test]
    fn writing_to_malformed_metadata_replaces_it() {
        let mut object = json!({"metadata": "x"});
        set_label(&mut object, "a", "b");
        assert!(add_finalizer(&mut object, "f"));
        assert_eq!(object, json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["f"]}}));
    }

    #[test]
    fn the_last_entry_takes_its_list_along() {
        let mut object = json!({"metadata": {"name": "x", "finalizers": ["f"], "labels": {"a": "b"}}});
        assert!(remove_finalizer(&mut object, "f"));
        assert!(!remove_finalizer(&mut object, "f"));
        assert_eq!(remove_label(&mut object, "a").as_deref(), Some("b"));
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
    }

    #[test]
    fn finalizers_are_added_once() {
        let mut object = json!({});
        assert!(add_finalizer(&mut object, "f"));
        assert!(!add_finalizer(&mut object, "f"));
        assert_eq!(finalizers(&object).collect::<Vec<_>>(), ["f"]);
    }

    #[test]
    fn the_controller_is_the_reference_that_says_so() {
        let object = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&object).map(|o| o.uid()), Some("2"));
    }

    #[test]
    fn api_versions_split_and_join() {
        for (text, parts) in [("v1", ("", "v1")), ("apps/v1", ("apps", "v1"))] {
            assert_eq!(split_api_version(text), parts);
            assert_eq!(join_api_version(parts.0, parts.1), text);
        }
    }
}
