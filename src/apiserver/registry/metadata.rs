//! Object metadata: the fields the server fills in, and what it refuses.

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
    status::Status,
};
use jiff::Timestamp;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use super::Resource;
use crate::errors;

const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const MAX_NAME: usize = 63;
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The object's metadata; empty if it has none.
#[must_use]
pub fn of(object: &Object) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object.get("metadata").and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The object's metadata, made if it has none.
pub fn of_mut(object: &mut Object) -> &mut Map<String, Value> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(metadata) => metadata,
        _ => unreachable!("it was just made an object"),
    }
}

/// A text field of the metadata, empty if unset.
#[must_use]
pub fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    of(object).get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The finalizers.
#[must_use]
pub fn finalizers(object: &Object) -> Vec<&str> {
    of(object)
        .get("finalizers")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).collect())
}

/// Whether deletion has begun.
#[must_use]
pub fn is_deleting(object: &Object) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Now, as the API writes it.
#[must_use]
pub fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name out of a prefix and five random letters.
#[must_use]
pub fn generate_name(prefix: &str) -> String {
    let keep = prefix
        .char_indices()
        .map(|(i, c)| i + c.len_utf8())
        .take_while(|end| *end <= MAX_NAME - SUFFIX_LENGTH);
    let mut name = prefix[..keep.last().unwrap_or(0)].to_owned();
    let mut random = rand::rng();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(SUFFIX_LETTERS[random.random_range(0..SUFFIX_LETTERS.len())]));
    }
    name
}

/// Checks the namespace of a body against the request's, and fills it in.
///
/// # Errors
/// 400 if they differ.
pub fn match_namespace(resource: &Resource, object: &mut Object, namespace: &str) -> Result<(), Status> {
    let given = text(object, "namespace").to_owned();
    let wanted = if resource.namespaced() { namespace } else { "" };
    if given.is_empty() {
        if !wanted.is_empty() {
            of_mut(object).insert("namespace".into(), wanted.into());
        }
    } else if given != wanted {
        return Err(errors::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Gives a new object what only the server may: uid, creation time, and nothing of a deletion.
pub fn fill_system_fields(object: &mut Object, now: Timestamp) {
    let metadata = of_mut(object);
    for key in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.shift_remove(key);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), timestamp(now).into());
}

/// What is wrong with the metadata of a new object.
#[must_use]
pub fn validate(resource: &Resource, object: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let generate = text(object, "generateName");
    if !generate.is_empty() {
        // A trailing dash is fine in a prefix: something follows it.
        let mut probe = generate.to_owned();
        if probe.ends_with('-') {
            probe.pop();
            probe.push('a');
        }
        for message in resource.stored.strategy.validate_name(&probe) {
            errors.push(field::invalid("metadata.generateName", &generate.into(), &message));
        }
    }
    let name = text(object, "name");
    if name.is_empty() {
        errors.push(field::required("metadata.name", "name or generateName is required"));
    } else {
        for message in resource.stored.strategy.validate_name(name) {
            errors.push(field::invalid("metadata.name", &name.into(), &message));
        }
    }
    if resource.namespaced() {
        let namespace = text(object, "namespace");
        if namespace.is_empty() {
            errors.push(field::required("metadata.namespace", ""));
        } else {
            for message in names::dns1123_label(namespace) {
                errors.push(field::invalid("metadata.namespace", &namespace.into(), &message));
            }
        }
    }
    validate_common(object, &mut errors);
    errors
}

fn validate_common(object: &Object, errors: &mut ErrorList) {
    let metadata = of(object);
    if let Some(labels) = metadata.get("labels").and_then(Value::as_object) {
        for (key, value) in labels {
            for message in names::qualified_name(key) {
                errors.push(field::invalid("metadata.labels", &key.as_str().into(), &message));
            }
            for message in names::label_value(value.as_str().unwrap_or_default()) {
                errors.push(field::invalid("metadata.labels", value, &message));
            }
        }
    }
    if let Some(annotations) = metadata.get("annotations").and_then(Value::as_object) {
        let mut size = 0;
        for (key, value) in annotations {
            for message in names::qualified_name(&key.to_ascii_lowercase()) {
                errors.push(field::invalid("metadata.annotations", &key.as_str().into(), &message));
            }
            size += key.len() + value.as_str().map_or(0, str::len);
        }
        if size > MAX_ANNOTATIONS {
            errors.push(field::too_long("metadata.annotations", MAX_ANNOTATIONS));
        }
    }
    validate_owners(object, errors);
    for (index, finalizer) in finalizers(object).iter().enumerate() {
        for message in names::qualified_name(finalizer) {
            errors.push(field::invalid("metadata.finalizers", &(*finalizer).into(), &message));
        }
        let standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(finalizer);
        if !standard && !finalizer.contains('/') {
            let path = format!("metadata.finalizers[{index}]");
            errors.push(field::invalid(
                path,
                &(*finalizer).into(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
}

fn validate_owners(object: &Object, errors: &mut ErrorList) {
    let owners = of(object)
        .get("ownerReferences")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut controller: Option<&Value> = None;
    for owner in owners {
        let get = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        for (key, text) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if get(key).is_empty() {
                errors.push(field::invalid(
                    format!("metadata.ownerReferences.{key}"),
                    &get(key).into(),
                    text,
                ));
            }
        }
        if get("apiVersion") == "v1" && get("kind") == "Event" {
            errors.push(field::invalid(
                "metadata.ownerReferences",
                owner,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            if let Some(first) = controller {
                let name = |o: &Value| o.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let kind = |o: &Value| o.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                errors.push(field::invalid(
                    "metadata.ownerReferences",
                    owner,
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                        kind(first), name(first), kind(owner), name(owner)
                    ),
                ));
            }
            controller = Some(owner);
        }
    }
}

/// Carries over what an update leaves out.
pub fn inherit(object: &mut Object, old: &Object) {
    let old = of(old);
    let metadata = of_mut(object);
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let unset = metadata.get(key).is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        match old.get(key) {
            Some(value) if unset => {
                metadata.insert(key.into(), value.clone());
            }
            _ => {}
        }
    }
    // A generation is the server's: the strategy raises it.
    metadata.shift_remove("generation");
    if let Some(generation) = old.get("generation") {
        metadata.insert("generation".into(), generation.clone());
    }
    metadata.shift_remove("selfLink");
}

/// What is wrong with the metadata of a changed object.
#[must_use]
pub fn validate_update(object: &Object, old: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let (new_meta, old_meta) = (of(object), of(old));
    if is_deleting(old) {
        let before = finalizers(old);
        let added: Vec<&str> = finalizers(object).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let list = added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ");
            errors.push(field::forbidden(
                "metadata.finalizers",
                &format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"),
            ));
        }
    }
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (new, old) = (new_meta.get(key), old_meta.get(key));
        if new != old {
            errors.push(field::invalid(
                format!("metadata.{key}"),
                new.unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
    validate_common(object, &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_keeps_to_63_bytes() {
        let name = generate_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9);
        assert_eq!(generate_name(&"x".repeat(80)).len(), 63);
    }

    #[test]
    fn an_update_cannot_touch_what_is_the_servers() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "creationTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"name": "a", "generation": 9}});
        inherit(&mut new, &old);
        assert!(validate_update(&new, &old).is_empty());
        assert_eq!(of(&new)["generation"], 3);
        new["metadata"]["uid"] = "2".into();
        assert_eq!(validate_update(&new, &old)[0].field, "metadata.uid");
    }

    #[test]
    fn a_deleting_object_takes_no_new_finalizers() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["a/b"]}});
        let new = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["a/b", "c/d"]}});
        assert_eq!(validate_update(&new, &old)[0].reason, "FieldValueForbidden");
    }
}
