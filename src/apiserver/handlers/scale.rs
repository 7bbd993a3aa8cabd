//! `/scale`: the replicas of a workload as `autoscaling/v1` Scale.

use apimachinery::{
    Object, field,
    managed_fields::{Path, UpdateRequest, scale_to_parent, scale_to_subresource, track_update},
    selector::LabelSelector,
    status::Status,
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Context, read, write};
use crate::{
    errors,
    patch::{Patch, Target},
    registry::{Resource, codec, metadata, update::Change},
    reply::{self, Reply},
    request::{Accepted, Transform, body, negotiate::Offer},
    table::{self, Include},
};

const API_VERSION: &str = "autoscaling/v1";

fn target() -> Target {
    Target {
        api_version: API_VERSION.into(),
        kind: "Scale",
        type_name: "io.k8s.api.autoscaling.v1.Scale",
    }
}

/// The Scale of a workload.
fn of(object: &Object) -> Object {
    let mut meta = serde_json::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata::of(object).get(key) {
            meta.insert(key.into(), value.clone());
        }
    }
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": meta,
        "spec": {},
        "status": {"replicas": number("/status/replicas")},
    });
    if number("/spec/replicas") != 0 {
        scale["spec"]["replicas"] = number("/spec/replicas").into();
    }
    let selector = LabelSelector::from_object(object.pointer("/spec/selector")).map(|s| s.to_string());
    if let Some(selector) = selector.ok().filter(|s| !s.is_empty()) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

enum How<'a> {
    Replace(Object),
    Patch(&'a Patch<'a>),
}

struct Rescale<'a> {
    how: How<'a>,
    resource: &'a Resource,
    manager: &'a str,
    now: Timestamp,
}

impl Rescale<'_> {
    /// The written Scale with its managed fields, given the current one with its own.
    fn written(&self, current: &Object) -> Result<Object, Status> {
        let mut scale = match &self.how {
            How::Replace(scale) => scale.clone(),
            How::Patch(patch) => patch.patched(Some(current))?,
        };
        if !matches!(&self.how, How::Patch(patch) if patch.is_apply()) {
            let request = UpdateRequest {
                live: Some(current),
                manager: self.manager,
                subresource: "scale",
                type_name: target().type_name,
                now: self.now,
            };
            track_update(&mut scale, &request);
        }
        Ok(scale)
    }
}

fn managers(object: &Object) -> &[Value] {
    metadata::of(object)
        .get("managedFields")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

impl Change for Rescale<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let Some(current) = current else {
            return Err(errors::bad_request("a workload that is not there has no scale"));
        };
        let path = Path::of_fields(&["spec", "replicas"]);
        let mut live = of(current);
        let of_scale = scale_to_subresource(managers(current), &path).map_err(errors::internal)?;
        metadata::of_mut(&mut live).insert("managedFields".into(), of_scale.into());
        let scale = self.written(&live)?;
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let wrong = field::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
            return Err(field::to_status(
                "autoscaling",
                "Scale",
                metadata::text(current, "name"),
                &vec![wrong],
            ));
        }
        let (uid, is) = (metadata::text(&scale, "uid"), metadata::text(current, "uid"));
        if !uid.is_empty() && uid != is {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}");
            return Err(errors::conflict(self.resource, metadata::text(current, "name"), &why));
        }
        let mut object = current.clone();
        object["spec"]["replicas"] = replicas.into();
        let version = self.resource.def.api_version();
        let after = scale_to_parent(managers(current), managers(&scale), &version, &path).map_err(errors::internal)?;
        metadata::of_mut(&mut object).insert("managedFields".into(), after.into());
        let version = metadata::text(&scale, "resourceVersion");
        if version.is_empty() {
            metadata::of_mut(&mut object).shift_remove("resourceVersion");
        } else {
            metadata::of_mut(&mut object).insert("resourceVersion".into(), version.into());
        }
        Ok(object)
    }

    fn tracks_itself(&self) -> bool {
        true
    }
}

/// A Scale as the client wants it.
fn shaped(context: &Context, scale: Object, accepted: &Accepted) -> Result<Reply, Status> {
    let shaped = match accepted.transform {
        Transform::None => scale,
        Transform::Metadata(version) => table::partial(scale, version),
        Transform::Table(version) => {
            let cells = api::scale::row(&scale, context.now);
            let about = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
            let object = match read::include(context)? {
                Include::None => Value::Null,
                Include::Metadata => table::partial(scale, version),
                Include::Object => scale,
            };
            let row = json!({"cells": cells, "object": object});
            table::table(version, about, table::columns(api::scale::COLUMNS), vec![row])
        }
    };
    reply::object(200, &shaped, accepted)
}

/// Serves the subresource.
///
/// # Errors
/// What the client is told.
pub async fn serve(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    let accepted = context.accepted(Offer::Object)?;
    let registry = &context.server.registry;
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    let object = match context.info.verb.as_str() {
        "get" => codec::decode(&registry.get(resource, namespace, name).await?)?,
        "update" => {
            let options = write::options(context, "UpdateOptions")?;
            let format = body::format_of(context.header(http::header::CONTENT_TYPE))?;
            let decoded = body::decode(bytes, format, "Scale")?;
            let scale = body::check(
                decoded,
                API_VERSION,
                "Scale",
                options.field_validation,
                &context.warnings,
            )?;
            write::check_name(context, resource, &scale)?;
            let change = Rescale {
                how: How::Replace(scale),
                resource,
                manager: &options.field_manager,
                now: context.now,
            };
            registry
                .update(&write::write(context, resource, &options), name, &change)
                .await?
                .object
        }
        "patch" => {
            let patch = Patch::parse(context, resource, target(), bytes)?;
            let change = Rescale {
                how: How::Patch(&patch),
                resource,
                manager: &patch.options().field_manager,
                now: context.now,
            };
            let updated = registry
                .update(&write::write(context, resource, patch.options()), name, &change)
                .await?;
            patch.warn();
            updated.object
        }
        _ => return Err(errors::method_not_allowed()),
    };
    shaped(context, of(&object), &accepted)
}
