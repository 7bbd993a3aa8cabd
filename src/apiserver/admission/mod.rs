//! Admission: what is added to, or refused of, a write besides the kind's own rules.

use apimachinery::{Object, status::Status};
use serde_json::Value;

use crate::{
    errors,
    registry::{Registry, Resource, codec, metadata, write::Write},
};

/// Namespaces that must not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What a write has been given (addresses, ports) and gives back unless it is kept.
#[derive(Default)]
pub struct Reserved;

impl Reserved {
    /// The write succeeded.
    pub fn keep(self) {}
}

/// Completes a new object.
///
/// # Errors
/// 403 or 404 for a namespace that takes nothing.
pub async fn mutate_create(registry: &Registry, write: &Write<'_>, object: &mut Object) -> Result<(), Status> {
    namespace_takes(registry, write, object).await
}

/// Checks a new object last.
///
/// # Errors
/// What a policy refuses.
pub async fn validate_create(_: &Registry, _: &Write<'_>, _: &mut Object) -> Result<Reserved, Status> {
    Ok(Reserved)
}

/// Completes a changed object.
///
/// # Errors
/// What a policy refuses.
pub async fn mutate_update(_: &Registry, _: &Write<'_>, _: &mut Object, _old: &Object) -> Result<(), Status> {
    Ok(())
}

/// Checks a changed object last.
///
/// # Errors
/// What a policy refuses.
pub async fn validate_update(_: &Registry, _: &Write<'_>, _: &mut Object, _old: &Object) -> Result<Reserved, Status> {
    Ok(Reserved)
}

/// Whether an object may be deleted at all.
///
/// # Errors
/// 403 for the namespaces every cluster needs.
pub fn validate_delete(resource: &Resource, name: &str) -> Result<(), Status> {
    if resource.stored.kind == "Namespace" && IMMORTAL.contains(&name) {
        return Err(errors::forbidden(resource, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Gives back what a deleted object held.
pub async fn deleted(_: &Registry, _: &Resource, _: &Object) {}

/// Namespace lifecycle: nothing is created in a namespace that is not there or on its way out.
async fn namespace_takes(registry: &Registry, write: &Write<'_>, object: &Object) -> Result<(), Status> {
    if !write.resource.namespaced() {
        return Ok(());
    }
    let namespace = metadata::text(object, "namespace");
    let Some(namespaces) = registry.resource("", "v1", "namespaces") else {
        return Ok(());
    };
    let found = codec::decode(&registry.get(namespaces, "", namespace).await?)?;
    if !metadata::is_deleting(&found) && found.pointer("/status/phase").and_then(Value::as_str) != Some("Terminating") {
        return Ok(());
    }
    let text = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = errors::forbidden(write.resource, metadata::text(object, "name"), &text);
    if let Some(details) = &mut status.details {
        details.causes.push(apimachinery::status::StatusCause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    Err(status)
}
