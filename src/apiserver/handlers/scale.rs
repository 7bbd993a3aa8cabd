//! `/scale`: the replicas of a workload as `autoscaling/v1` Scale.

use apimachinery::{
    Object, field,
    managed_fields::{Path, PathElement, scale_to_parent, scale_to_subresource},
    selector::LabelSelector,
    status::Status,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Context, write};
use crate::{
    errors,
    patch::{Patch, Target},
    registry::{Resource, codec, metadata, update::Change},
    reply::{self, Reply},
    request::{body, negotiate::Offer},
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
}

impl Change for Rescale<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let Some(current) = current else {
            return Err(errors::bad_request("a workload that is not there has no scale"));
        };
        let parent = metadata::of(current)
            .get("managedFields")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let scale = match &self.how {
            How::Replace(scale) => scale.clone(),
            How::Patch(patch) => {
                let mut scale = of(current);
                let managers = scale_to_subresource(parent, &replicas_path()).map_err(errors::internal)?;
                metadata::of_mut(&mut scale).insert("managedFields".into(), managers.into());
                patch.patched(Some(&scale))?
            }
        };
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
        if self.tracks_itself() {
            let written = metadata::of(&scale).get("managedFields").and_then(Value::as_array);
            let written = written.map_or(&[][..], Vec::as_slice);
            let version = self.resource.def.api_version();
            let managers = scale_to_parent(parent, written, &version, &replicas_path()).map_err(errors::internal)?;
            metadata::of_mut(&mut object).insert("managedFields".into(), managers.into());
        }
        let version = metadata::text(&scale, "resourceVersion");
        if version.is_empty() {
            metadata::of_mut(&mut object).shift_remove("resourceVersion");
        } else {
            metadata::of_mut(&mut object).insert("resourceVersion".into(), version.into());
        }
        Ok(object)
    }

    fn tracks_itself(&self) -> bool {
        matches!(&self.how, How::Patch(patch) if patch.is_apply())
    }
}

fn replicas_path() -> Path {
    Path(
        ["spec", "replicas"]
            .map(|name| PathElement::Field(name.to_owned()))
            .to_vec(),
    )
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
            };
            let updated = registry
                .update(&write::write(context, resource, patch.options()), name, &change)
                .await?;
            patch.warn();
            updated.object
        }
        _ => return Err(errors::method_not_allowed()),
    };
    reply::object(200, &of(&object), &accepted)
}
