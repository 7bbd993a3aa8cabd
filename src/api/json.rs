//! Reading and defaulting of JSON objects with the meaning Go gives to absent, null and empty.

use serde_json::{Map, Value};

/// The string, or the empty one.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The whole number, or 0.
pub(crate) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The truth value, or false.
pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

/// The items, or none.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The items, or none, to be changed.
pub(crate) fn items_mut<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The entries of a map, or none.
pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Number of entries of a map.
pub(crate) fn len(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    }
}

/// Whether Go would see a nil pointer, slice or map.
pub(crate) fn absent(value: &Value) -> bool {
    value.is_null()
}

/// Whether Go would see an empty string, slice or map, or nil.
pub(crate) fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The member `key` as a map, made if it is not there. A value of another type is replaced: the schema was checked before.
pub(crate) fn map_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let slot = &mut value[key];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot
}

/// Sets a pointer-like member that is absent.
pub(crate) fn default_to(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Sets a string-like or number-like member that is absent or has Go's zero value.
pub(crate) fn default_zero(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(|v| v.is_null() || v == "" || v == 0)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Puts the keys of a map in order, as Go writes them.
pub(crate) fn sort(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.sort_keys();
    }
}

/// Removes a member.
pub(crate) fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut().and_then(|map| map.shift_remove(key))
}

/// Sets a member in its place, or removes it when the new value is null.
pub(crate) fn put(value: &mut Value, key: &str, new: Value) {
    if new.is_null() {
        remove(value, key);
    } else if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), new);
    }
}

/// Gives a member another name, keeping its value.
pub(crate) fn rename(value: &mut Value, from: &str, to: &str) {
    if let Some(moved) = remove(value, from) {
        put(value, to, moved);
    }
}
