//! JSON Merge Patch, RFC 7386.

use serde_json::{Map, Value};

use super::{PatchError, json::type_name};
use crate::Object;

/// Applies a merge patch: objects are merged, null removes, anything else replaces.
///
/// Unlike the RFC, and like kube, nulls are also taken out of objects inside new lists.
///
/// # Errors
/// When the patch is not an object.
pub fn merge_patch(doc: Object, patch: &Object) -> Result<Object, PatchError> {
    let Value::Object(patch) = patch else {
        let why = match patch {
            Value::Null => "Invalid JSON Patch".to_owned(),
            other => format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                type_name(other)
            ),
        };
        return Err(PatchError::Undecodable(why));
    };
    let mut doc = match doc {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    merge(&mut doc, patch);
    Ok(Value::Object(doc))
}

fn merge(doc: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (doc.get_mut(key), value) {
            (_, Value::Null) => {
                doc.shift_remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(old), new) => *old = without_nulls(new),
            (None, new) => {
                doc.insert(key.clone(), without_nulls(new));
            }
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(doc: Value, patch: Value) -> Value {
        merge_patch(doc, &patch).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (doc, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(doc, patch), result);
        }
    }

    #[test]
    fn nulls_inside_new_lists_are_dropped_from_objects_but_kept_as_items() {
        assert_eq!(
            merged(json!({}), json!({"a": [{"b": null, "c": 1}, null]})),
            json!({"a": [{"c": 1}, null]})
        );
    }

    #[test]
    fn only_objects_are_patches() {
        let message = |patch| merge_patch(json!({}), &patch).unwrap_err().to_string();
        assert_eq!(
            message(json!([])),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(message(json!(null)), "Invalid JSON Patch");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::vec(("[abc]", inner), 0..3)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Value> {
        prop::collection::vec(("[abc]", any_json()), 0..4)
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn patching_twice_is_patching_once(doc in any_object(), patch in any_object()) {
            let once = merged(doc, patch.clone());
            prop_assert_eq!(merged(once.clone(), patch), once);
        }

        #[test]
        fn the_empty_patch_changes_nothing(doc in any_object()) {
            prop_assert_eq!(merged(doc.clone(), json!({})), doc);
        }

        #[test]
        fn what_the_patch_names_is_there_or_gone(doc in any_object(), patch in any_object()) {
            let result = merged(doc, patch.clone());
            for (key, value) in patch.as_object().unwrap() {
                prop_assert_eq!(result.get(key).is_none(), value.is_null());
            }
        }
    }
}
