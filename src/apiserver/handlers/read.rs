//! GET of an object and of a list.

use apimachinery::{Object, status::Status};
use serde_json::{Value, json};

use super::Context;
use crate::{
    errors,
    registry::{Resource, cached::Payload, codec, read::ListPage, selection::Selection},
    reply::{self, Reply},
    request::{Accepted, Format, Transform, negotiate::Offer, options::ListOptions},
    table::{self, Include},
};

/// What rows carry, by `includeObject`.
///
/// # Errors
/// 400 for unknown values.
pub fn include(context: &Context) -> Result<Include, Status> {
    let text = context.query.text("includeObject");
    Include::parse(text).ok_or_else(|| {
        let why = "must be 'Metadata', 'Object', 'None', or empty";
        errors::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: {why}"
        ))
    })
}

/// A single object as the client wants it. `stored` is in the stored version.
///
/// # Errors
/// 406 if it cannot be written that way.
pub fn shaped(
    context: &Context,
    resource: &Resource,
    code: u16,
    mut stored: Object,
    accepted: &Accepted,
) -> Result<Reply, Status> {
    let object = match accepted.transform {
        Transform::None => {
            resource.to_served(&mut stored);
            stored
        }
        Transform::Metadata(version) => table::partial(stored, version),
        Transform::Table(version) => {
            let metadata = json!({"resourceVersion": stored["metadata"]["resourceVersion"]});
            let row = table::row(resource, stored, include(context)?, version, context.now);
            table::table(version, metadata, table::columns(resource.stored.columns), vec![row])
        }
    };
    reply::object(code, &object, accepted)
}

/// GET of one object.
///
/// # Errors
/// 404, 406, 504.
pub async fn get(context: &Context, resource: &Resource) -> Result<Reply, Status> {
    let accepted = context.accepted_of(resource, Offer::Object)?;
    let registry = &context.server.registry;
    let version = context.query.text("resourceVersion");
    if !version.is_empty() && version != "0" {
        registry
            .wait_for(resource, crate::registry::read::parse_version(version)?)
            .await?;
    }
    let found = registry
        .get(resource, &context.info.namespace, &context.info.name)
        .await?;
    let plain = accepted.transform == Transform::None && resource.conversion().is_none();
    if plain && accepted.format == Format::Json && !accepted.pretty {
        let mut content = codec::wire(&found.value, found.modified.0);
        content.push(b'\n');
        return Ok(reply::compress(
            &context.headers,
            content,
            Format::Json.media_type(),
            200,
        ));
    }
    shaped(context, resource, 200, codec::decode(&found)?, &accepted)
}

/// GET of a list.
///
/// # Errors
/// 400, 406, 410, 422, 504.
pub async fn list(context: &Context, resource: &Resource) -> Result<Reply, Status> {
    let accepted = context.accepted_of(resource, Offer::List)?;
    let options = ListOptions::parse(&context.query, false)?;
    let selection = Selection::parse(resource, &options.label_selector, &options.field_selector)?;
    let page = context
        .server
        .registry
        .list(resource, &context.info.namespace, &selection, &options)
        .await?;
    let content = match accepted.transform {
        Transform::None if resource.conversion().is_none() => plain_list(resource, &page),
        transform => {
            let list = shaped_list(context, resource, &page, transform)?;
            if accepted.format != Format::Json || accepted.pretty {
                return reply::object(200, &list, &accepted);
            }
            reply::encode(&list, Format::Json, false)?
        }
    };
    if accepted.format == Format::Json && !accepted.pretty {
        return Ok(reply::compress(
            &context.headers,
            content,
            Format::Json.media_type(),
            200,
        ));
    }
    reply::json(200, content, &accepted)
}

/// The list's own metadata.
#[must_use]
pub fn list_metadata(page: &ListPage) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if !page.token.is_empty() {
        metadata["continue"] = page.token.clone().into();
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    metadata
}

/// A list out of stored bytes: nothing is parsed.
fn plain_list(resource: &Resource, page: &ListPage) -> Vec<u8> {
    let size: usize = page.items.iter().map(|item| item.payload.value.len() + 48).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
        resource.def.kind,
        resource.def.api_version(),
        list_metadata(page)
    );
    out.extend_from_slice(head.as_bytes());
    let head = resource.head.as_bytes();
    for (index, item) in page.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let Payload { value, revision, .. } = &item.payload;
        if value.starts_with(head) {
            out.push(b'{');
            codec::write_wire(&mut out, value, *revision, head.len());
        } else {
            codec::write_wire(&mut out, value, *revision, 0);
        }
    }
    out.extend_from_slice(b"]}\n");
    out
}

fn shaped_list(context: &Context, resource: &Resource, page: &ListPage, transform: Transform) -> Result<Value, Status> {
    let metadata = list_metadata(page);
    let objects = page.items.iter().map(|item| codec::decode_payload(&item.payload));
    match transform {
        Transform::Table(version) => {
            let include = include(context)?;
            let rows = objects.map(|o| Ok(table::row(resource, o?, include, version, context.now)));
            let rows = rows.collect::<Result<Vec<_>, Status>>()?;
            Ok(table::table(
                version,
                metadata,
                table::columns(resource.stored.columns),
                rows,
            ))
        }
        Transform::Metadata(version) => {
            let items = objects
                .map(|o| Ok(table::partial(o?, version)))
                .collect::<Result<Vec<_>, Status>>()?;
            Ok(json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
                "items": items,
            }))
        }
        Transform::None => {
            let items = objects
                .map(|o| served_item(resource, o?))
                .collect::<Result<Vec<_>, Status>>()?;
            Ok(json!({
                "kind": format!("{}List", resource.def.kind),
                "apiVersion": resource.def.api_version(),
                "metadata": metadata,
                "items": items,
            }))
        }
    }
}

fn served_item(resource: &Resource, mut object: Object) -> Result<Object, Status> {
    resource.to_served(&mut object);
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
    }
    Ok(object)
}
