//! Validation of object metadata, for every kind alike.

use serde_json::Value;

use crate::{
    Object,
    field::{self, ErrorList},
    meta, names,
    text::{go_quote, is_printable},
};

/// All keys and values of an object's annotations together, in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;
/// A field manager's name, in bytes.
pub const FIELD_MANAGER_MAX: usize = 128;
/// A subresource's name in managed fields, in bytes.
const SUBRESOURCE_MAX: usize = 256;
/// What is said of a field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// Errors of a label at the path of its map.
pub fn label(key: &str, value: &str, path: &str, errors: &mut ErrorList) {
    for message in names::qualified_name(key) {
        errors.push(field::invalid(path, &key.into(), &message));
    }
    for message in names::label_value(value) {
        errors.push(field::invalid(path, &value.into(), &message));
    }
}

/// Errors of a map of labels at `path`.
#[must_use]
pub fn labels(map: Option<&Value>, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in meta::string_entries(map) {
        label(key, value, path, &mut errors);
    }
    errors
}

/// Errors of a map of annotations at `path`: keys as labels', in any case, and a total size.
#[must_use]
pub fn annotations(map: Option<&Value>, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in meta::string_entries(map) {
        size += key.len() + value.len();
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(field::invalid(path, &key.into(), &message));
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.push(field::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

/// Errors of a field manager's name.
#[must_use]
pub fn field_manager(name: &str, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.len() > FIELD_MANAGER_MAX {
        errors.push(field::too_long(path, FIELD_MANAGER_MAX));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| !is_printable(*c)) {
        // Go's %#U shows the character only if it is printable, which these are not.
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(field::invalid(path, &name.into(), &why));
    }
    errors
}

fn owner_references(object: &Object, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller = None;
    for owner in meta::owner_references(object) {
        let (group, version) = match owner.api_version() {
            // Too many parts make it none at all.
            text if text.matches('/').count() > 1 => ("", ""),
            text => meta::split_api_version(text),
        };
        let mut need = |name: &str, value: &str, filled: &str, why: &str| {
            if filled.is_empty() {
                errors.push(field::invalid(format!("{path}.{name}"), &value.into(), why));
            }
        };
        need("apiVersion", owner.api_version(), version, "version must not be empty");
        need("kind", owner.kind(), owner.kind(), "must not be empty");
        need("name", owner.name(), owner.name(), "must not be empty");
        need("uid", owner.uid(), owner.uid(), "must not be empty");
        if (group, version, owner.kind()) == ("", "v1", "Event") {
            errors.push(field::invalid(
                path,
                owner.0,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.is_controller() {
            let this = format!("{}/{}", owner.kind(), owner.name());
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let all = meta::get(object, "ownerReferences").cloned().unwrap_or_default();
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(field::invalid(path, &all, &why));
                }
            }
        }
    }
    errors
}

fn finalizers(object: &Object, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    for finalizer in meta::finalizers(object) {
        for message in names::qualified_name(finalizer) {
            errors.push(field::invalid(path, &finalizer.into(), &message));
        }
    }
    let (foreground, orphan) = (meta::FOREGROUND_FINALIZER, meta::ORPHAN_FINALIZER);
    if meta::has_finalizer(object, foreground) && meta::has_finalizer(object, orphan) {
        let all = meta::get(object, "finalizers").cloned().unwrap_or_default();
        errors.push(field::invalid(
            path,
            &all,
            &format!("finalizer {orphan} and {foreground} cannot be both set"),
        ));
    }
    errors
}

/// Errors of finalizers that have no domain and are none of Kubernetes' own.
fn unqualified_finalizers(object: &Object) -> ErrorList {
    let known = ["kubernetes", meta::FOREGROUND_FINALIZER, meta::ORPHAN_FINALIZER];
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    meta::finalizers(object)
        .enumerate()
        .filter(|(_, finalizer)| !finalizer.contains('/') && !known.contains(finalizer))
        .map(|(i, finalizer)| field::invalid(format!("metadata.finalizers[{i}]"), &finalizer.into(), why))
        .collect()
}

fn managed_fields(object: &Object, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let entries = meta::get(object, "managedFields").and_then(Value::as_array);
    for (i, entry) in entries.into_iter().flatten().enumerate() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
        if !matches!(text("operation"), "Apply" | "Update") {
            let path = format!("{path}[{i}].operation");
            errors.push(field::invalid(
                path,
                &text("operation").into(),
                "must be `Apply` or `Update`",
            ));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            let path = format!("{path}[{i}].fieldsType");
            errors.push(field::invalid(path, &text("fieldsType").into(), "must be `FieldsV1`"));
        }
        errors.extend(field_manager(text("manager"), &format!("{path}[{i}].manager")));
        if text("subresource").len() > SUBRESOURCE_MAX {
            errors.push(field::too_long(format!("{path}[{i}].subresource"), SUBRESOURCE_MAX));
        }
    }
    errors
}

/// What create and update check alike.
fn common(object: &Object) -> ErrorList {
    let mut errors = labels(meta::get(object, "labels"), "metadata.labels");
    errors.extend(annotations(meta::get(object, "annotations"), "metadata.annotations"));
    errors.extend(owner_references(object, "metadata.ownerReferences"));
    errors
}

/// Errors of a new object's metadata. `name_check` tells what is wrong with a name of this kind.
#[must_use]
pub fn object_meta(object: &Object, namespaced: bool, name_check: impl Fn(&str) -> Vec<String>) -> ErrorList {
    let mut errors = any_object_meta(object, namespaced, name_check);
    errors.extend(unqualified_finalizers(object));
    errors
}

/// What holds for the metadata of every kind.
fn any_object_meta(object: &Object, namespaced: bool, name_check: impl Fn(&str) -> Vec<String>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut check = |path: &str, value: &str, messages: Vec<String>| {
        errors.extend(
            messages
                .iter()
                .map(|message| field::invalid(path, &value.into(), message)),
        );
    };
    let (name, prefix, namespace) = (meta::name(object), meta::generate_name(object), meta::namespace(object));
    if !prefix.is_empty() {
        check(
            "metadata.generateName",
            prefix,
            names::generate_name(prefix, &name_check),
        );
    }
    if !name.is_empty() {
        check("metadata.name", name, name_check(name));
    }
    if namespaced && !namespace.is_empty() {
        check("metadata.namespace", namespace, names::dns1123_label(namespace));
    }
    if name.is_empty() {
        let at = errors.iter().take_while(|e| e.field == "metadata.generateName").count();
        errors.insert(at, field::required("metadata.name", "name or generateName is required"));
    }
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(field::required("metadata.namespace", "")),
        (false, false) => errors.push(field::forbidden("metadata.namespace", "not allowed on this type")),
        _ => {}
    }
    if meta::generation(object) < 0 {
        let generation = meta::generation(object).into();
        errors.push(field::invalid(
            "metadata.generation",
            &generation,
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(common(object));
    errors.extend(finalizers(object, "metadata.finalizers"));
    errors.extend(managed_fields(object, "metadata.managedFields"));
    errors
}

/// Errors of changed metadata, for every kind alike: what is wrong with it, what may not change, what was added wrongly.
#[must_use]
pub fn object_meta_update(new: &Object, old: &Object, namespaced: bool) -> ErrorList {
    let mut errors = any_object_meta(new, namespaced, names::path_segment_name);
    errors.extend(update_errors(new, old));
    errors
}

/// Errors of changed metadata that most kinds find again. Kube tells an error as often as it finds it: once in the
/// message, but every time among the causes.
#[must_use]
pub fn object_meta_update_of_kind(new: &Object, old: &Object) -> ErrorList {
    let mut errors = update_errors(new, old);
    errors.extend(unqualified_finalizers(new));
    errors
}

fn update_errors(new: &Object, old: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::is_being_deleted(old) {
        let mut added: Vec<_> = meta::finalizers(new)
            .filter(|f| !meta::has_finalizer(old, f))
            .map(str::to_owned)
            .collect();
        added.sort();
        added.dedup();
        if !added.is_empty() {
            let list = added.iter().map(|f| go_quote(f)).collect::<Vec<_>>().join(", ");
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            );
            errors.push(field::forbidden("metadata.finalizers", &why));
        }
    }
    if meta::resource_version(new).is_empty() {
        errors.push(field::invalid(
            "metadata.resourceVersion",
            &"".into(),
            "must be specified for an update",
        ));
    }
    if meta::generation(new) < meta::generation(old) {
        let generation = meta::generation(new).into();
        errors.push(field::invalid(
            "metadata.generation",
            &generation,
            "must not be decremented",
        ));
    }
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (new, old) = (meta::get(new, key), meta::get(old, key));
        if new != old {
            let text = matches!(key, "name" | "namespace" | "uid");
            let shown = new
                .cloned()
                .unwrap_or_else(|| if text { "".into() } else { Value::Null });
            errors.push(field::invalid(format!("metadata.{key}"), &shown, IMMUTABLE));
        }
    }
    errors.extend(common(new));
    errors.extend(managed_fields(new, "metadata.managedFields"));
    errors
}

/// The error of a field that changed although it may not; nothing if it did not.
#[must_use]
pub fn immutable(new: Option<&Value>, old: Option<&Value>, path: &str) -> Option<field::FieldError> {
    let null = Value::Null;
    let (new, old) = (new.unwrap_or(&null), old.unwrap_or(&null));
    (new != old).then(|| field::invalid(path, new, IMMUTABLE))
}

/// Errors of `dryRun` values: only `All` is known.
#[must_use]
pub fn dry_run(values: &[String], path: &str) -> ErrorList {
    if values.iter().all(|value| value == "All") {
        return ErrorList::new();
    }
    vec![field::not_supported(path, &values.to_vec().into(), &["All"])]
}

/// Errors of `fieldValidation`.
#[must_use]
pub fn field_validation(value: &str, path: &str) -> ErrorList {
    match value {
        "" | "Ignore" | "Warn" | "Strict" => ErrorList::new(),
        other => vec![field::not_supported(
            path,
            &other.into(),
            &["", "Ignore", "Strict", "Warn"],
        )],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(errors: ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn created(metadata: Value) -> Vec<String> {
        texts(object_meta(
            &json!({"metadata": metadata}),
            true,
            names::dns1123_subdomain,
        ))
    }

    #[test]
    fn a_plain_object_is_fine() {
        assert_eq!(
            created(
                json!({"name": "x", "generateName": "x-", "namespace": "n", "labels": {"a": ""}, "annotations": {"A.Com/x": "any thing"},
                "finalizers": ["example.com/f"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}],
                "managedFields": [{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1"}]})
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn names_and_namespaces_are_required_in_order() {
        assert_eq!(
            created(json!({})),
            [
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value"
            ]
        );
        let errors = created(json!({"generateName": "Xy-", "namespace": "N"}));
        assert!(
            errors[0].starts_with("metadata.generateName: Invalid value: \"Xy-\": a lowercase RFC 1123 subdomain"),
            "{errors:?}"
        );
        assert!(errors[1].starts_with("metadata.name: Required"), "{errors:?}");
        assert!(
            errors[2].starts_with("metadata.namespace: Invalid value: \"N\": a lowercase RFC 1123 label"),
            "{errors:?}"
        );
        let cluster_scoped = object_meta(
            &json!({"metadata": {"name": "x", "namespace": "n"}}),
            false,
            names::dns1123_subdomain,
        );
        assert_eq!(
            texts(cluster_scoped),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
    }

    #[test]
    fn owners_must_be_complete_and_one_controller() {
        let errors = created(json!({"name": "x", "namespace": "n", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u", "controller": true},
            {"apiVersion": "apps/", "kind": "", "name": "b", "uid": "", "controller": true}]}));
        assert_eq!(
            errors[0],
            "metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty"
        );
        assert_eq!(
            errors[1],
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty"
        );
        assert_eq!(
            errors[2],
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"
        );
        assert!(
            errors[3].ends_with("Found \"true\" in references for Pod/a and /b"),
            "{errors:?}"
        );
    }

    #[test]
    fn annotations_have_a_total_size() {
        let big = "x".repeat(ANNOTATIONS_MAX);
        assert_eq!(
            created(json!({"name": "x", "namespace": "n", "annotations": {"a": big}})),
            ["metadata.annotations: Too long: may not be more than 262144 bytes"]
        );
    }

    #[test]
    fn conflicting_finalizers_are_refused() {
        assert_eq!(
            created(json!({"name": "x", "namespace": "n", "finalizers": ["orphan", "foregroundDeletion"]})),
            [
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#
            ]
        );
    }

    #[test]
    fn finalizers_of_others_need_a_domain() {
        let errors = created(json!({"name": "x", "namespace": "n", "finalizers": ["a/b", "orphan", "mine"]}));
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(
            errors,
            [format!("metadata.finalizers[2]: Invalid value: \"mine\": {why}")]
        );
    }

    #[test]
    fn what_an_update_finds_again_is_told_once() {
        let old = json!({"metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}});
        let new = json!({"metadata": {"name": "y", "namespace": "n", "resourceVersion": "1", "labels": {"-": ""}}});
        let errors = [
            object_meta_update(&new, &old, true),
            object_meta_update_of_kind(&new, &old),
        ]
        .concat();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "metadata.labels",
                "metadata.name",
                "metadata.labels",
                "metadata.name",
                "metadata.labels"
            ]
        );
        assert_eq!(field::aggregate(&errors).matches("field is immutable").count(), 1);
    }

    #[test]
    fn identity_does_not_change() {
        let old = json!({"metadata": {"name": "x", "uid": "1", "resourceVersion": "1", "generation": 2}});
        let new = json!({"metadata": {"name": "y", "uid": "1", "resourceVersion": "", "generation": 1}});
        assert_eq!(
            texts(update_errors(&new, &old)),
            [
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.generation: Invalid value: 1: must not be decremented",
                "metadata.name: Invalid value: \"y\": field is immutable",
            ]
        );
    }

    #[test]
    fn no_finalizers_are_added_to_what_is_going() {
        let old = json!({"metadata": {"resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/a"]}});
        let mut new = old.clone();
        for finalizer in ["b/b", "c/c"] {
            meta::add_finalizer(&mut new, finalizer);
        }
        assert_eq!(
            texts(update_errors(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"b/b\", \"c/c\"}"
            ]
        );
    }

    #[test]
    fn managers_are_short_and_printable() {
        assert!(field_manager("kubectl-client-side-apply", "fieldManager").is_empty());
        assert_eq!(
            texts(field_manager(&"x".repeat(129), "f")),
            ["f: Too long: may not be more than 128 bytes"]
        );
        assert_eq!(
            texts(field_manager("a\n", "f")),
            ["f: Invalid value: \"a\\n\": invalid character U+000A (at position 1)"]
        );
    }
}
