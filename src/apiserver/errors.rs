//! The refusals of the generic server, with kube-apiserver's texts.

use apimachinery::status::{Status, StatusCause, StatusDetails};

use crate::registry::Resource;

fn qualified(resource: &Resource) -> String {
    if resource.def.group.is_empty() {
        resource.def.resource.to_owned()
    } else {
        format!("{}.{}", resource.def.resource, resource.def.group)
    }
}

fn details(resource: &Resource, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.into(),
        group: resource.def.group.into(),
        kind: resource.def.resource.into(),
        ..StatusDetails::default()
    }
}

/// 404 for an object.
#[must_use]
pub fn not_found(resource: &Resource, name: &str) -> Status {
    Status::failure(404, "NotFound", format!("{} \"{name}\" not found", qualified(resource)))
        .with_details(details(resource, name))
}

/// 409 for an object that is there already.
#[must_use]
pub fn already_exists(resource: &Resource, name: &str) -> Status {
    Status::failure(
        409,
        "AlreadyExists",
        format!("{} \"{name}\" already exists", qualified(resource)),
    )
    .with_details(details(resource, name))
}

/// 409 with a reason in words.
#[must_use]
pub fn conflict(resource: &Resource, name: &str, why: &str) -> Status {
    let text = format!(
        "Operation cannot be fulfilled on {} \"{name}\": {why}",
        qualified(resource)
    );
    Status::failure(409, "Conflict", text).with_details(details(resource, name))
}

/// 409 for a write based on an outdated version.
#[must_use]
pub fn stale(resource: &Resource, name: &str) -> Status {
    conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// 400 in words.
#[must_use]
pub fn bad_request(text: impl Into<String>) -> Status {
    Status::failure(400, "BadRequest", text)
}

/// 403 for an object, as admission says it.
#[must_use]
pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Status {
    let text = format!("{} \"{name}\" is forbidden: {why}", qualified(resource));
    Status::failure(403, "Forbidden", text).with_details(details(resource, name))
}

/// 405 for a verb the resource does not have.
#[must_use]
pub fn method_not_allowed() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
    .with_details(StatusDetails::default())
}

/// 404 for a resource of a known group that is not served.
#[must_use]
pub fn unknown_resource() -> Status {
    Status::failure(404, "NotFound", "the server could not find the requested resource")
        .with_details(StatusDetails::default())
}

/// 500 in words.
#[must_use]
pub fn internal(text: impl std::fmt::Display) -> Status {
    Status::failure(500, "InternalError", format!("Internal error occurred: {text}")).with_details(StatusDetails {
        causes: vec![StatusCause {
            message: text.to_string(),
            ..StatusCause::default()
        }],
        ..StatusDetails::default()
    })
}

/// 410: the version asked for is not retained any more.
#[must_use]
pub fn expired(text: impl Into<String>) -> Status {
    Status::failure(410, "Expired", text)
}

/// 504: the version asked for has not happened yet.
#[must_use]
pub fn too_large_resource_version(wanted: u64, current: u64) -> Status {
    Status::failure(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {wanted}, current: {current}"),
    )
    .with_details(StatusDetails {
        causes: vec![StatusCause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        retry_after_seconds: 1,
        ..StatusDetails::default()
    })
}

/// What a storage failure is to a client. `name` is the object's.
#[must_use]
pub fn of_storage(resource: &Resource, name: &str, error: &storage::Error) -> Status {
    match error {
        storage::Error::AlreadyExists { .. } => already_exists(resource, name),
        storage::Error::NotFound { .. } => not_found(resource, name),
        storage::Error::Conflict { .. } => stale(resource, name),
        storage::Error::Compacted { .. } => expired("The resourceVersion for the provided list is too old."),
        storage::Error::Future { wanted, current } => too_large_resource_version(wanted.0, current.0),
        storage::Error::TooLarge { .. } => Status::failure(500, "", "etcdserver: request is too large"),
        storage::Error::Backend { .. } => {
            tracing::error!(error = chain(error), "storage failed");
            internal(error)
        }
    }
}

/// An error and all its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
