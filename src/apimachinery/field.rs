//! Field paths and the errors of validation, with the texts of kube-apiserver.

use crate::status::{Status, StatusCause, StatusDetails};

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

/// A value missing.
#[must_use]
pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
    let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
    FieldError { field: field.into(), reason: "FieldValueRequired", message }
}

/// A value that is not acceptable. Strings are quoted, the rest is printed as JSON.
#[must_use]
pub fn invalid(field: impl Into<String>, value: &serde_json::Value, detail: &str) -> FieldError {
    FieldError { field: field.into(), reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {detail}") }
}

/// A value out of a fixed set.
#[must_use]
pub fn not_supported(field: impl Into<String>, value: &serde_json::Value, supported: &[&str]) -> FieldError {
    let list = supported.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
    FieldError { field: field.into(), reason: "FieldValueNotSupported", message: format!("Unsupported value: {value}: supported values: {list}") }
}

/// A field that may not be set here.
#[must_use]
pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
    FieldError { field: field.into(), reason: "FieldValueForbidden", message: format!("Forbidden: {detail}") }
}

/// A value that is there twice.
#[must_use]
pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> FieldError {
    FieldError { field: field.into(), reason: "FieldValueDuplicate", message: format!("Duplicate value: {value}") }
}

/// A value that is too long.
#[must_use]
pub fn too_long(field: impl Into<String>, max: usize) -> FieldError {
    FieldError { field: field.into(), reason: "FieldValueTooLong", message: format!("Too long: may not be more than {max} bytes") }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The 422 that carries validation errors.
#[must_use]
pub fn to_status(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Status {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let text = match errors.as_slice() {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let causes = errors
        .iter()
        .map(|e| StatusCause { reason: e.reason.into(), message: e.message.clone(), field: e.field.clone() })
        .collect();
    Status::failure(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {text}")).with_details(StatusDetails {
        name: name.into(),
        group: group.into(),
        kind: kind.into(),
        causes,
        ..StatusDetails::default()
    })
}
