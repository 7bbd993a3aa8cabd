//! Field paths and the errors of validation, with the texts of kube-apiserver.

use serde_json::Value;

use crate::{
    status::{Status, StatusCause, StatusDetails},
    text::{go_json, go_quote},
};

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path, as `spec.template.spec.containers[0].name`.
    pub field: String,
    /// Cause, as `FieldValueInvalid`.
    pub reason: &'static str,
    /// Text without the field, as `Invalid value: -1: must be greater than or equal to 0`.
    pub message: String,
}

/// Every error of an object, in the order kube-apiserver reports them.
pub type ErrorList = Vec<FieldError>;

fn error(field: impl Into<String>, reason: &'static str, parts: &[&str]) -> FieldError {
    let message = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    FieldError {
        field: field.into(),
        reason,
        message,
    }
}

/// A value as messages show it: strings quoted, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        other => go_json(other),
    }
}

/// A value missing.
#[must_use]
pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
    error(field, "FieldValueRequired", &["Required value", detail])
}

/// A value that is not acceptable. Strings are quoted, the rest is printed as JSON.
#[must_use]
pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
    error(field, "FieldValueInvalid", &["Invalid value", &shown(value), detail])
}

/// A value that is not acceptable, and too big or too secret to be repeated.
#[must_use]
pub fn invalid_unnamed(field: impl Into<String>, detail: &str) -> FieldError {
    error(field, "FieldValueInvalid", &["Invalid value", detail])
}

/// A value of the wrong type.
#[must_use]
pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
    error(
        field,
        "FieldValueTypeInvalid",
        &["Invalid value", &shown(value), detail],
    )
}

/// A value out of a fixed set. An empty set leaves the list out.
#[must_use]
pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> FieldError {
    let list = supported.iter().map(|s| go_quote(s)).collect::<Vec<_>>().join(", ");
    let detail = if list.is_empty() {
        String::new()
    } else {
        format!("supported values: {list}")
    };
    error(
        field,
        "FieldValueNotSupported",
        &["Unsupported value", &shown(value), &detail],
    )
}

/// A reference to something that is not there.
#[must_use]
pub fn not_found(field: impl Into<String>, value: &Value) -> FieldError {
    error(field, "FieldValueNotFound", &["Not found", &shown(value)])
}

/// A field that may not be set here.
#[must_use]
pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
    error(field, "FieldValueForbidden", &["Forbidden", detail])
}

/// A value that is there twice.
#[must_use]
pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
    error(field, "FieldValueDuplicate", &["Duplicate value", &shown(value)])
}

/// A value that is too long.
#[must_use]
pub fn too_long(field: impl Into<String>, max: usize) -> FieldError {
    error(
        field,
        "FieldValueTooLong",
        &["Too long", &format!("may not be more than {max} bytes")],
    )
}

/// A list with too many items.
#[must_use]
pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> FieldError {
    let noun = if max == 1 { "item" } else { "items" };
    let detail = format!("must have at most {max} {noun}");
    error(field, "FieldValueTooMany", &["Too many", &actual.to_string(), &detail])
}

/// Something the server could not check.
#[must_use]
pub fn internal(field: impl Into<String>, detail: &str) -> FieldError {
    error(field, "InternalError", &["Internal error", detail])
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All errors in one line, as kube joins them: one alone as it is, several in brackets, equal ones once.
#[must_use]
pub fn aggregate(errors: &ErrorList) -> String {
    let mut seen = std::collections::HashSet::with_capacity(errors.len());
    let mut texts: Vec<_> = errors
        .iter()
        .map(ToString::to_string)
        .filter(|text| seen.insert(text.clone()))
        .collect();
    if texts.len() == 1 {
        texts.swap_remove(0)
    } else {
        format!("[{}]", texts.join(", "))
    }
}

/// The 422 that carries validation errors.
#[must_use]
pub fn to_status(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Status {
    let qualified = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    let mut message = format!("{qualified} {} is invalid", go_quote(name));
    if !errors.is_empty() {
        message = format!("{message}: {}", aggregate(errors));
    }
    let causes = errors
        .iter()
        .map(|e| StatusCause {
            reason: e.reason.into(),
            message: e.message.clone(),
            field: e.field.clone(),
        })
        .collect();
    Status::failure(422, "Invalid", message).with_details(StatusDetails {
        name: name.into(),
        group: group.into(),
        kind: kind.into(),
        causes,
        ..StatusDetails::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_error_stands_alone_and_several_in_brackets() {
        let one = vec![required("metadata.name", "name or generateName is required")];
        assert_eq!(
            to_status("", "ConfigMap", "", &one).message,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
        );
        let two = vec![
            invalid("spec.replicas", &json!(-1), "must be greater than or equal to 0"),
            required("spec", ""),
        ];
        assert_eq!(
            to_status("apps", "Deployment", "d", &two).message,
            "Deployment.apps \"d\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec: Required value]"
        );
    }

    #[test]
    fn equal_errors_are_told_once_but_all_are_causes() {
        let errors = vec![required("a", ""), required("a", "")];
        let status = to_status("", "Pod", "p", &errors);
        assert_eq!(status.message, "Pod \"p\" is invalid: a: Required value");
        assert_eq!(status.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn values_are_shown_as_go_shows_them() {
        assert_eq!(
            invalid("f", &json!({"a": "<"}), "no").message,
            r#"Invalid value: {"a":"\u003c"}: no"#
        );
        assert_eq!(
            not_supported("f", &json!("x"), &["a", "b"]).message,
            r#"Unsupported value: "x": supported values: "a", "b""#
        );
        assert_eq!(too_long("f", 63).message, "Too long: may not be more than 63 bytes");
    }
}
