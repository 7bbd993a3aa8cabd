//! Admission: what is added to, or refused of, a write besides the kind's own rules.

mod accounts;
pub mod allocator;
mod pods;
pub mod services;

use apimachinery::{Object, status::Status};
use serde_json::Value;

pub use services::Reserved;

use crate::{
    Profile, access, errors,
    registry::{
        Registry, Resource, codec, metadata,
        write::{Write, check},
    },
};

/// Namespaces that must not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Completes a new object.
///
/// # Errors
/// 403 or 404 for a namespace that takes nothing.
pub async fn mutate_create(registry: &Registry, write: &Write<'_>, object: &mut Object) -> Result<(), Status> {
    namespace_takes(registry, write, object).await?;
    if write.resource.stored.kind == "Pod" && write.subresource.is_empty() {
        if registry.admits_accounts {
            accounts::complete(registry, write, object).await?;
        }
        pods::complete(registry, write, object).await?;
    }
    Ok(())
}

/// Checks a new object last, and takes what it holds exclusively.
///
/// # Errors
/// What a policy refuses.
pub async fn validate_create(registry: &Registry, write: &Write<'_>, object: &mut Object) -> Result<Reserved, Status> {
    federated(registry, write, object)?;
    access::check_escalation(registry, write, object, None)?;
    allocate(registry, write, object, None).await
}

/// Completes a changed object.
///
/// # Errors
/// What a policy refuses.
pub async fn mutate_update(
    registry: &Registry,
    write: &Write<'_>,
    object: &mut Object,
    old: &Object,
) -> Result<(), Status> {
    if registry.allocator.is_some() && is_service(write.resource) && write.subresource.is_empty() {
        services::inherit(object, old);
    }
    Ok(())
}

/// Checks a changed object last, and takes what it holds exclusively.
///
/// # Errors
/// What a policy refuses.
pub async fn validate_update(
    registry: &Registry,
    write: &Write<'_>,
    object: &mut Object,
    old: &Object,
) -> Result<Reserved, Status> {
    if annotations_or_spec_changed(object, old) {
        federated(registry, write, object)?;
    }
    access::check_escalation(registry, write, object, Some(old))?;
    allocate(registry, write, object, Some(old)).await
}

/// The federation's own annotations are refused where they are written, not ignored where they are read.
fn federated(registry: &Registry, write: &Write<'_>, object: &Object) -> Result<(), Status> {
    if registry.profile != Profile::Federation || !write.subresource.is_empty() {
        return Ok(());
    }
    for warning in api::admission::federated_warnings(object) {
        write.warnings.add(warning);
    }
    let name = metadata::text(object, "name");
    check(write.resource, name, &api::admission::validate_federated(object))
}

/// An object that was stored before a rule was known must still be deleted and reported on.
fn annotations_or_spec_changed(object: &Object, old: &Object) -> bool {
    let annotations = |object: &Object| object.pointer("/metadata/annotations").cloned();
    annotations(object) != annotations(old) || object.get("spec") != old.get("spec")
}

fn is_service(resource: &Resource) -> bool {
    resource.stored.kind == "Service" && resource.stored.group.is_empty()
}

async fn allocate(
    registry: &Registry,
    write: &Write<'_>,
    object: &mut Object,
    old: Option<&Object>,
) -> Result<Reserved, Status> {
    let Some(allocator) = registry.allocator.as_ref().filter(|_| is_service(write.resource)) else {
        return Ok(Reserved::default());
    };
    allocator.load(registry, write.resource).await?;
    services::allocate(allocator, write.resource, object, old)
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
pub fn deleted(registry: &Registry, resource: &Resource, object: &Object) {
    if let Some(allocator) = registry.allocator.as_ref().filter(|_| is_service(resource)) {
        allocator.release(&allocator::Held::of(object));
    }
}

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
