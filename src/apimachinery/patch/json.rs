//! JSON Patch in kube's dialect of RFC 6902.
//!
//! Differences to the RFC, which clients rely on and ready-made crates do not have: indices may count from the end
//! (`-1` is the last item), `replace` makes a key that is not there, `test` takes a missing value for null,
//! and the first segment of a path is skipped whatever it is.

use serde_json::{Map, Value};

use super::{OPERATIONS_MAX, PatchError};
use crate::Object;

/// Bytes that all `copy` operations of a patch may add together.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// Why an operation does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// `op` is none of the six.
    #[error("unexpected kind: {0}")]
    Kind(String),
    /// `path` or `from` is needed and not there.
    #[error("operation is missing its {0}")]
    NoPath(&'static str),
    /// The parent of what the path names is not there.
    #[error("doc is missing path: {0}")]
    Missing(String),
    /// No such key or item.
    #[error("unable to access {key} of path: {path}")]
    Item {
        /// The whole path.
        path: String,
        /// Its last segment.
        key: String,
    },
    /// `test` found something else.
    #[error("testing value {0} failed")]
    Test(String),
    /// The whole document can only become an object or a list.
    #[error("replace operation value must be object or array")]
    Whole,
    /// Copies grew too big.
    #[error("copy operations exceed {COPIED_MAX} bytes")]
    TooBig,
}

/// Applies a JSON patch, given as the body of a request.
///
/// # Errors
/// When the body is no JSON patch, is too long, or an operation does not apply; then nothing is changed.
pub fn json_patch(mut doc: Object, patch: &[u8]) -> Result<Object, PatchError> {
    let operations = decode(patch)?;
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut copied = 0;
    for operation in &operations {
        apply(&mut doc, operation, &mut copied)?;
    }
    Ok(doc)
}

fn decode(patch: &[u8]) -> Result<Vec<Map<String, Value>>, PatchError> {
    let wrong = |why: String| PatchError::Undecodable(format!("error decoding patch: {why}"));
    let cannot =
        |what: &Value, target: &str| wrong(format!("json: cannot unmarshal {} into Go {target}", type_name(what)));
    let decoded = crate::schema::decode_json(patch).map_err(|error| wrong(error.to_string()))?;
    let items = match decoded.value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(cannot(&other, "value of type []handlers.jsonPatchOp")),
    };
    let mut operations = Vec::with_capacity(items.len());
    for item in items {
        let operation = match item {
            Value::Object(operation) => operation,
            Value::Null => Map::new(),
            other => return Err(cannot(&other, "value of type handlers.jsonPatchOp")),
        };
        for name in ["op", "path", "from"] {
            if let Some(value) = operation
                .get(name)
                .filter(|value| !value.is_string() && !value.is_null())
            {
                return Err(cannot(
                    value,
                    &format!("struct field jsonPatchOp.{name} of type string"),
                ));
            }
        }
        operations.push(operation);
    }
    Ok(operations)
}

pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn apply(doc: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), OperationError> {
    let text = |name: &'static str| operation.get(name).and_then(Value::as_str);
    let path = || text("path").ok_or(OperationError::NoPath("path"));
    let from = || text("from").ok_or(OperationError::NoPath("from"));
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op").unwrap_or("unknown") {
        "add" => Place::of(doc, path()?)?.add(value()),
        "remove" => Place::of(doc, path()?)?.remove().map(drop),
        "replace" if path()?.is_empty() => replace_whole(doc, value()),
        "replace" => Place::of(doc, path()?)?.set(value()),
        "move" => {
            let moved = Place::of(doc, from()?)?.remove()?;
            Place::of(doc, path()?)?.add(moved)
        }
        "copy" => {
            let copy = Place::of(doc, from()?)?.get()?;
            *copied += copy.to_string().len();
            if *copied > COPIED_MAX {
                return Err(OperationError::TooBig);
            }
            Place::of(doc, path()?)?.add(copy)
        }
        "test" => {
            let path = path()?;
            let found = if path.is_empty() {
                doc.clone()
            } else {
                Place::of(doc, path)?.get()?
            };
            if found == value() {
                Ok(())
            } else {
                Err(OperationError::Test(path.to_owned()))
            }
        }
        other => Err(OperationError::Kind(other.to_owned())),
    }
}

fn replace_whole(doc: &mut Value, value: Value) -> Result<(), OperationError> {
    if !value.is_object() && !value.is_array() {
        return Err(OperationError::Whole);
    }
    *doc = value;
    Ok(())
}

/// What a path names: a container that is there, and a key that may not be.
struct Place<'a> {
    container: Container<'a>,
    path: &'a str,
    key: String,
}

enum Container<'a> {
    Object(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

fn unescape(segment: &str) -> String {
    // Go replaces left to right in one pass, so that "~01" is "~1", not "/".
    segment.replace("~0", "\0").replace("~1", "/").replace('\0', "~")
}

/// Index into a list of so many items; negative ones count from the end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    (0..length).contains(&at).then(|| usize::try_from(at).ok()).flatten()
}

impl<'a> Place<'a> {
    fn of(doc: &'a mut Value, path: &'a str) -> Result<Self, OperationError> {
        let missing = || OperationError::Missing(path.to_owned());
        let mut segments: Vec<String> = path.split('/').skip(1).map(unescape).collect();
        let key = segments.pop().ok_or_else(missing)?;
        let mut node = doc;
        for segment in segments {
            node = match node {
                Value::Object(map) => map.get_mut(&segment),
                Value::Array(items) => index(&segment, items.len()).and_then(|at| items.get_mut(at)),
                _ => None,
            }
            .ok_or_else(missing)?;
        }
        let container = match node {
            Value::Object(map) => Container::Object(map),
            Value::Array(items) => Container::List(items),
            _ => return Err(missing()),
        };
        Ok(Self { container, path, key })
    }

    fn no_item(&self) -> OperationError {
        OperationError::Item {
            path: self.path.to_owned(),
            key: self.key.clone(),
        }
    }

    fn existing(&self, length: usize) -> Result<usize, OperationError> {
        index(&self.key, length).ok_or_else(|| self.no_item())
    }

    fn get(self) -> Result<Value, OperationError> {
        match &self.container {
            Container::Object(map) => Ok(map.get(&self.key).cloned().unwrap_or(Value::Null)),
            Container::List(items) => Ok(items[self.existing(items.len())?].clone()),
        }
    }

    fn add(self, value: Value) -> Result<(), OperationError> {
        let wrong = self.no_item();
        match self.container {
            Container::Object(map) => {
                map.insert(self.key, value);
            }
            Container::List(items) if self.key == "-" => items.push(value),
            Container::List(items) => {
                let at = index(&self.key, items.len() + 1).ok_or(wrong)?;
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn set(self, value: Value) -> Result<(), OperationError> {
        let wrong = self.no_item();
        match self.container {
            Container::Object(map) => {
                map.insert(self.key, value);
            }
            Container::List(items) => {
                let at = index(&self.key, items.len()).ok_or(wrong)?;
                items[at] = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, OperationError> {
        let wrong = self.no_item();
        match self.container {
            Container::Object(map) => map.shift_remove(&self.key).ok_or(wrong),
            Container::List(items) => Ok(items.remove(index(&self.key, items.len()).ok_or(wrong)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(doc: Value, patch: Value) -> Result<Value, PatchError> {
        json_patch(doc, patch.to_string().as_bytes())
    }

    #[test]
    fn every_operation_does_its_work() {
        for (doc, operation, result) in [
            (
                json!({}),
                json!({"op": "add", "path": "/a", "value": 1}),
                json!({"a": 1}),
            ),
            (
                json!({"a": [1]}),
                json!({"op": "add", "path": "/a/-", "value": 2}),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!({"op": "add", "path": "/a/0", "value": 2}),
                json!({"a": [2, 1]}),
            ),
            (
                json!({"a": [1]}),
                json!({"op": "add", "path": "/a/1", "value": 2}),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!({"op": "add", "path": "/a/-1", "value": 2}),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1, 2]}),
                json!({"op": "remove", "path": "/a/-1"}),
                json!({"a": [1]}),
            ),
            (
                json!({"a/b": 1, "c~d": 2}),
                json!({"op": "remove", "path": "/a~1b"}),
                json!({"c~d": 2}),
            ),
            (json!({"~1": 1}), json!({"op": "remove", "path": "/~01"}), json!({})),
            (
                json!({"a": 1}),
                json!({"op": "replace", "path": "/a", "value": 2}),
                json!({"a": 2}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "replace", "path": "", "value": {"b": 2}}),
                json!({"b": 2}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "move", "from": "/a", "path": "/b"}),
                json!({"b": 1}),
            ),
            (
                json!({"a": 1}),
                json!({"op": "copy", "from": "/a", "path": "/b"}),
                json!({"a": 1, "b": 1}),
            ),
            (
                json!({"a": {"b": [1]}}),
                json!({"op": "test", "path": "/a", "value": {"b": [1]}}),
                json!({"a": {"b": [1]}}),
            ),
        ] {
            assert_eq!(patched(doc, json!([operation])), Ok(result), "{operation}");
        }
    }

    #[test]
    fn kubes_dialect_is_looser_than_the_rfc() {
        assert_eq!(
            patched(json!({}), json!([{"op": "replace", "path": "/a", "value": 1}])),
            Ok(json!({"a": 1}))
        );
        assert_eq!(
            patched(json!({}), json!([{"op": "test", "path": "/a", "value": null}])),
            Ok(json!({}))
        );
        assert_eq!(
            patched(json!({}), json!([{"op": "add", "path": "x/a", "value": 1}])),
            Ok(json!({"a": 1}))
        );
    }

    #[test]
    fn operations_that_do_not_apply_are_422_without_detail() {
        for operation in [
            json!({"op": "add", "path": "/a/b", "value": 1}),
            json!({"op": "add", "path": "", "value": {}}),
            json!({"op": "add", "path": "/l/2", "value": 1}),
            json!({"op": "add", "path": "/l/x", "value": 1}),
            json!({"op": "remove", "path": "/x"}),
            json!({"op": "remove", "path": "/l/1"}),
            json!({"op": "replace", "path": "/l/1", "value": 1}),
            json!({"op": "replace", "path": "", "value": 1}),
            json!({"op": "move", "from": "/x", "path": "/y"}),
            json!({"op": "test", "path": "/l", "value": []}),
            json!({"op": "copy", "from": "/x/y", "path": "/z"}),
            json!({"op": "jump", "path": "/l"}),
            json!({"op": "add"}),
        ] {
            let status = patched(json!({"l": [1]}), json!([operation])).unwrap_err().to_status();
            assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{operation}");
            assert_eq!(
                status.message,
                "the server rejected our request due to an error in our request"
            );
        }
    }

    #[test]
    fn bodies_that_are_no_patches_are_400() {
        for (body, message) in [
            (
                "{}",
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                "[1]",
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
            (
                r#"[{"op":1}]"#,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
        ] {
            let status = json_patch(json!({}), body.as_bytes()).unwrap_err().to_status();
            assert_eq!((status.code, status.message.as_str()), (400, message));
        }
        assert_eq!(json_patch(json!({}), b"[").unwrap_err().to_status().code, 400);
    }

    #[test]
    fn too_many_operations_are_413() {
        let patch = Value::Array(vec![
            json!({"op": "test", "path": "/a", "value": null});
            OPERATIONS_MAX + 1
        ]);
        let status = patched(json!({}), patch).unwrap_err().to_status();
        assert_eq!(status.code, 413);
        assert_eq!(
            status.message,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_cannot_multiply_without_bound() {
        let mut operations = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 40];
        operations.push(json!({"op": "test", "path": "/b", "value": null}));
        let error = patched(json!({"a": ["x".repeat(1000)]}), Value::Array(operations)).unwrap_err();
        assert_eq!(error, PatchError::Operation(OperationError::TooBig));
    }

    proptest::proptest! {
        #[test]
        fn any_operation_is_applied_or_refused(
            op in "add|remove|replace|move|copy|test",
            from in "(/(a|b|0|-1|-|~1|é)?){0,3}",
            path in "(/(a|b|0|-1|-|~1|é)?){0,3}",
        ) {
            let doc = json!({"a": [1, {"b": 2}], "b": {"0": [], "a": null}, "": {"é": 1}});
            let _ = patched(doc, json!([{"op": op, "from": from, "path": path, "value": {"a": 1}}]));
        }

        #[test]
        fn what_is_added_is_found_and_can_be_removed_again(key in "[a-z~/é]{1,4}") {
            let path = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            let doc = json!({"A": 1});
            let patch = json!([
                {"op": "add", "path": path, "value": 2}, {"op": "test", "path": path, "value": 2}, {"op": "remove", "path": path},
            ]);
            proptest::prop_assert_eq!(patched(doc.clone(), patch), Ok(doc));
        }
    }
}
