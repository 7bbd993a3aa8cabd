//! POST, PUT, PATCH and DELETE.

use apimachinery::{Object, status::Status};
use bytes::Bytes;
use http::header;
use serde_json::{Value, json};

use super::{Context, read};
use crate::{
    errors,
    patch::{Patch, Target},
    registry::{
        Resource, codec,
        delete::{Delete, DeleteOptions, Deleted, success},
        metadata,
        selection::Selection,
        update::Change,
        write::Write,
    },
    reply::{self, Reply},
    request::{
        body,
        negotiate::Offer,
        options::{ListOptions, WriteOptions},
    },
};

/// The write of a request.
#[must_use]
pub fn write<'a>(context: &'a Context, resource: &'a Resource, options: &'a WriteOptions) -> Write<'a> {
    Write {
        resource,
        subresource: &context.info.subresource,
        namespace: if resource.namespaced() {
            &context.info.namespace
        } else {
            ""
        },
        options,
        user: &context.user,
        warnings: &context.warnings,
        now: context.now,
    }
}

/// The options of a write.
///
/// # Errors
/// 422 for values out of range.
pub fn options(context: &Context, kind: &str) -> Result<WriteOptions, Status> {
    WriteOptions::parse(&context.query, context.header(header::USER_AGENT), kind, false)
}

/// An object that is in the served version, as the client wants it.
///
/// # Errors
/// 406.
pub fn answer(context: &Context, resource: &Resource, code: u16, object: Object) -> Result<Reply, Status> {
    let accepted = context.accepted_of(resource, Offer::Object)?;
    let mut stored = object;
    if accepted.transform != crate::request::Transform::None
        && let Some(conversion) = resource.conversion()
    {
        (conversion.to_storage)(&mut stored);
        return read::shaped(context, resource, code, stored, &accepted);
    }
    if accepted.transform == crate::request::Transform::None {
        return reply::object(code, &stored, &accepted);
    }
    read::shaped(context, resource, code, stored, &accepted)
}

/// POST of an object.
///
/// # Errors
/// What the client is told.
pub async fn create(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    context.accepted_of(resource, Offer::Object)?;
    let options = options(context, "CreateOptions")?;
    let object = context.decode(resource, bytes, options.field_validation)?;
    let created = context
        .server
        .registry
        .create(&write(context, resource, &options), object)
        .await?;
    answer(context, resource, 201, created)
}

struct Replace {
    object: Object,
    may_create: bool,
}

impl Change for Replace {
    fn apply(&self, _: Option<&Object>) -> Result<Object, Status> {
        Ok(self.object.clone())
    }

    fn may_create(&self) -> bool {
        self.may_create
    }
}

/// PUT of an object.
///
/// # Errors
/// What the client is told.
pub async fn update(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    context.accepted_of(resource, Offer::Object)?;
    let options = options(context, "UpdateOptions")?;
    let object = context.decode(resource, bytes, options.field_validation)?;
    check_name(context, resource, &object)?;
    let may_create = resource.stored.create_on_update && context.info.subresource.is_empty();
    let change = Replace { object, may_create };
    let updated = context
        .server
        .registry
        .update(&write(context, resource, &options), &context.info.name, &change)
        .await?;
    answer(
        context,
        resource,
        if updated.created { 201 } else { 200 },
        updated.object,
    )
}

/// The name and namespace of a body must be those of the path.
///
/// # Errors
/// 400 if not.
pub fn check_name(context: &Context, resource: &Resource, object: &Object) -> Result<(), Status> {
    let (name, wanted) = (metadata::text(object, "name"), context.info.name.as_str());
    if name.is_empty() {
        return Err(errors::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != wanted {
        return Err(errors::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let namespace = metadata::text(object, "namespace");
    if resource.namespaced() && !namespace.is_empty() && namespace != context.info.namespace {
        return Err(errors::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            context.info.namespace
        )));
    }
    Ok(())
}

/// PATCH of an object, in any of the four ways.
///
/// # Errors
/// What the client is told.
pub async fn patch(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    context.accepted_of(resource, Offer::Object)?;
    let patch = Patch::parse(context, resource, Target::of(resource), bytes)?;
    let write = write(context, resource, patch.options());
    let updated = context
        .server
        .registry
        .update(&write, &context.info.name, &patch)
        .await?;
    patch.warn();
    answer(
        context,
        resource,
        if updated.created { 201 } else { 200 },
        updated.object,
    )
}

fn delete_options(context: &Context, bytes: &Bytes) -> Result<DeleteOptions, Status> {
    if bytes.is_empty() {
        return DeleteOptions::parse(None, &context.query);
    }
    let format = body::format_of(context.header(header::CONTENT_TYPE))?;
    // Options are decoded before there is a kind that the body must be of.
    let object = body::decode(bytes, format, "DeleteOptions").map_err(|mut status| {
        let why = status
            .message
            .split_once("(must be of type DeleteOptions): ")
            .map(|(_, why)| why);
        if let Some((why, _)) = why.and_then(|why| why.rsplit_once(" (")) {
            status.message = why.to_owned();
        }
        status
    })?;
    let object = object.object;
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(errors::bad_request(format!(
            "no kind {kind:?} is registered for version {:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"",
            object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
        )));
    }
    DeleteOptions::parse(Some(&object), &context.query)
}

/// Who deletes jobs without a word about their pods is told that these stay.
fn warn_of_orphans(context: &Context, resource: &Resource, options: &DeleteOptions) {
    if options.propagation.is_none() && resource.stored.orphans_by_default && resource.stored.group == "batch" {
        context.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        );
    }
}

/// DELETE of an object.
///
/// # Errors
/// What the client is told.
pub async fn delete(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    let options = delete_options(context, bytes)?;
    warn_of_orphans(context, resource, &options);
    let delete = Delete {
        resource,
        namespace: if resource.namespaced() {
            &context.info.namespace
        } else {
            ""
        },
        name: &context.info.name,
        options: &options,
        user: &context.user,
        now: context.now,
    };
    match context.server.registry.delete(&delete).await? {
        Deleted::Marked(object) => answer(context, resource, 200, object),
        Deleted::Gone(object) if resource.stored.answers_deleted => answer(context, resource, 200, object),
        Deleted::Gone(object) => {
            let accepted = context.accepted(Offer::Plain)?;
            reply::object(200, &success(resource, &object), &accepted)
        }
    }
}

/// DELETE of everything that is selected.
///
/// # Errors
/// What the client is told.
pub async fn delete_collection(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    let options = delete_options(context, bytes)?;
    warn_of_orphans(context, resource, &options);
    let list = ListOptions::parse(&context.query, false)?;
    let selection = Selection::parse(resource, &list.label_selector, &list.field_selector)?;
    let registry = &context.server.registry;
    let page = registry
        .list(resource, &context.info.namespace, &selection, &list)
        .await?;
    let mut items = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let mut object = codec::decode_payload(&item.payload)?;
        let delete = Delete {
            resource,
            namespace: metadata::text(&object, "namespace"),
            name: metadata::text(&object, "name"),
            options: &options,
            user: &context.user,
            now: context.now,
        };
        match registry.delete(&delete).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => continue,
            Err(status) => return Err(status),
        }
        resource.to_served(&mut object);
        if let Some(fields) = object.as_object_mut() {
            fields.shift_remove("kind");
            fields.shift_remove("apiVersion");
        }
        items.push(object);
    }
    let accepted = context.accepted(Offer::Plain)?;
    let list = json!({
        "kind": format!("{}List", resource.def.kind),
        "apiVersion": resource.def.api_version(),
        "metadata": read::list_metadata(&page),
        "items": items,
    });
    reply::object(200, &list, &accepted)
}
