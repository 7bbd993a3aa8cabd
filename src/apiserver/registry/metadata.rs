//! Object metadata: the fields the server fills in, and what it refuses.

use apimachinery::{Object, field::ErrorList, status::Status, validation};
use jiff::Timestamp;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use super::Resource;
use crate::errors;

const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const MAX_NAME: usize = 63;

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

/// Leaves every owner reference in once; tells of the others in the words of kube-apiserver, if there are any.
pub fn drop_duplicate_owners(object: &mut Object) -> Option<String> {
    let owners = of_mut(object).get_mut("ownerReferences")?.as_array_mut()?;
    let (mut once, mut again) = (Vec::new(), Vec::new());
    for owner in std::mem::take(owners) {
        if once.contains(&owner) {
            again.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            once.push(owner);
        }
    }
    *owners = once;
    (!again.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            again.join(", ")
        )
    })
}

/// Takes from a new object what only the server may say of it: that it is being deleted.
pub fn drop_deletion(object: &mut Object) {
    let metadata = of_mut(object);
    for key in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.shift_remove(key);
    }
}

/// Gives a new object what only the server may: uid and creation time.
pub fn fill_system_fields(object: &mut Object, now: Timestamp) {
    let metadata = of_mut(object);
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), timestamp(now).into());
}

/// What is wrong with the metadata of a new object.
#[must_use]
pub fn validate(resource: &Resource, object: &Object) -> ErrorList {
    let check = |name: &str| resource.stored.strategy.validate_name(name);
    validation::object_meta(object, resource.namespaced(), check)
}

/// Carries over what an update leaves out.
pub fn inherit(object: &mut Object, old: &Object) {
    let old = of(old);
    let metadata = of_mut(object);
    // What a client says of these is taken back silently …
    let fixed = ["creationTimestamp", "deletionTimestamp"];
    // … and of these only if it says nothing; else it is an error.
    let kept = ["uid", "deletionGracePeriodSeconds"];
    for key in fixed.into_iter().chain(kept) {
        let unset = metadata.get(key).is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        if let Some(value) = old.get(key).filter(|_| unset || fixed.contains(&key)) {
            metadata.insert(key.into(), value.clone());
        }
    }
    // A generation is the server's: the strategy raises it.
    metadata.shift_remove("generation");
    if let Some(generation) = old.get("generation") {
        metadata.insert("generation".into(), generation.clone());
    }
    metadata.shift_remove("selfLink");
}

/// Kinds whose own rules leave metadata to the rules for all.
const LEAVES_METADATA: [&str; 3] = ["Event", "Lease", "PodDisruptionBudget"];

/// Kinds whose own rules check a changed object like a new one, metadata included.
const CHECKS_AS_NEW: [&str; 18] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "Endpoints",
    "Ingress",
    "IngressClass",
    "Job",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
    "StorageClass",
];

/// What is wrong with the metadata of a changed object. Each error is there as often as kube-apiserver finds it.
#[must_use]
pub fn validate_update(resource: &Resource, object: &Object, old: &Object) -> ErrorList {
    let mut errors = validation::object_meta_update(object, old, resource.namespaced());
    if !LEAVES_METADATA.contains(&resource.stored.kind) {
        errors.extend(validation::object_meta_update_of_kind(object, old));
    }
    if CHECKS_AS_NEW.contains(&resource.stored.kind) {
        errors.extend(validate(resource, object));
    }
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
        assert_eq!(of(&new)["generation"], 3);
        assert_eq!(of(&new)["uid"], "1");
        new["metadata"]["creationTimestamp"] = "u".into();
        inherit(&mut new, &old);
        assert_eq!(of(&new)["creationTimestamp"], "t");
    }
}
