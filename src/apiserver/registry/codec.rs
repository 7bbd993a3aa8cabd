//! Between objects and stored bytes.
//!
//! Stored JSON is compact, begins with `kind`, `apiVersion` and `metadata`, and has metadata in the API's order with
//! `uid` behind nothing but plain strings. So the revision is spliced in without parsing: it goes behind the first
//! `"uid":"…"`.

use apimachinery::{Object, schema::Schema};
use bytes::Bytes;
use serde_json::{Map, Value};
use storage::KeyValue;

use super::cached::Payload;
use crate::errors;
use apimachinery::status::Status;

const METADATA_ORDER: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const UID: &[u8] = br#""uid":""#;

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Brings the type's fields and the metadata into the API's order and drops metadata that is unset.
pub fn normalize(object: &mut Object) {
    let Some(fields) = object.as_object_mut() else { return };
    let mut metadata = match fields.shift_remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let mut ordered = Map::new();
    for key in METADATA_ORDER {
        match metadata.shift_remove(key) {
            Some(value) if !is_unset(&value) => {
                ordered.insert(key.to_owned(), value);
            }
            _ => {}
        }
    }
    let mut whole = Map::new();
    for key in ["kind", "apiVersion"] {
        if let Some(value) = fields.shift_remove(key) {
            whole.insert(key.to_owned(), value);
        }
    }
    whole.insert("metadata".to_owned(), Value::Object(ordered));
    whole.append(fields);
    *fields = whole;
}

/// Brings an object into the canonical form of its kind: the API's order throughout, and what is always written there.
pub fn canonicalize(object: &mut Object) {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    Schema::global().check(&api_version, &kind, object);
    normalize(object);
}

/// The bytes to store: normalized, without `resourceVersion`.
///
/// # Errors
/// 500 if the object cannot be written as JSON.
pub fn encode(object: &Object) -> Result<Bytes, Status> {
    let mut copy = object.clone();
    if let Some(metadata) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("resourceVersion");
    }
    normalize(&mut copy);
    serde_json::to_vec(&copy).map(Bytes::from).map_err(errors::internal)
}

/// Where the revision goes: behind the uid.
fn splice_point(value: &[u8]) -> Option<usize> {
    let start = value.windows(UID.len()).position(|w| w == UID)? + UID.len();
    let end = value[start..].iter().position(|&b| b == b'"')?;
    Some(start + end + 1)
}

/// Appends the object with its revision to `out`, leaving out its first `skip` bytes.
pub fn write_wire(out: &mut Vec<u8>, value: &[u8], revision: u64, skip: usize) {
    let at = splice_point(value).filter(|at| *at >= skip);
    let Some(at) = at else {
        out.extend_from_slice(value.get(skip..).unwrap_or_default());
        return;
    };
    out.extend_from_slice(&value[skip..at]);
    out.extend_from_slice(br#","resourceVersion":""#);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    out.extend_from_slice(&value[at..]);
}

/// The object as clients read it.
#[must_use]
pub fn wire(value: &[u8], revision: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 42);
    write_wire(&mut out, value, revision, 0);
    out
}

/// The object of a key.
///
/// # Errors
/// 500 if the stored bytes are no JSON.
pub fn decode(stored: &KeyValue) -> Result<Object, Status> {
    serde_json::from_slice(&wire(&stored.value, stored.modified.0))
        .map_err(|e| errors::internal(format!("cannot decode {}: {e}", stored.key)))
}

/// The object of a cached item.
///
/// # Errors
/// 500 if the stored bytes are no JSON.
pub fn decode_payload(payload: &Payload) -> Result<Object, Status> {
    serde_json::from_slice(&wire(&payload.value, payload.revision))
        .map_err(|e| errors::internal(format!("cannot decode {}: {e}", payload.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_revision_is_spliced_in_behind_the_uid() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "\"uid\":\"x\""},
            "metadata": {"uid": "u-1", "resourceVersion": "7", "name": "n\"uid\":\"", "labels": {}, "namespace": "d"},
        });
        let bytes = encode(&object).unwrap();
        let text = String::from_utf8(wire(&bytes, 42)).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"n\"uid\":\"","namespace":"d","uid":"u-1","resourceVersion":"42"},"data":{"a":"\"uid\":\"x\""}}"#
        );
    }

    #[test]
    fn the_head_can_be_left_out_for_lists() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "n", "uid": "u"}});
        let bytes = encode(&object).unwrap();
        let mut out = b"{".to_vec();
        write_wire(&mut out, &bytes, 5, r#"{"kind":"ConfigMap","apiVersion":"v1","#.len());
        assert_eq!(out, br#"{"metadata":{"name":"n","uid":"u","resourceVersion":"5"}}"#);
    }
}
