//! Writing objects to a cluster by server-side apply, and removing them.

use anyhow::Context as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// Field manager of everything this program writes.
pub(crate) const FIELD_MANAGER: &str = "kubefed";

fn api_of(client: &Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (group, version) = text("/apiVersion")
        .map(|v| v.split_once('/').unwrap_or(("", v)))
        .context("no apiVersion")?;
    let kind = text("/kind").context("no kind")?;
    let name = text("/metadata/name").context("no name")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api = match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name.to_owned()))
}

fn describe(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

/// Creates the object, or brings an existing one in line with it.
pub(crate) async fn object(client: &Client, object: &Value) -> anyhow::Result<DynamicObject> {
    let (api, name) = api_of(client, object)?;
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(object)).await;
    applied
        .map_err(in_words)
        .with_context(|| format!("cannot apply {}", describe(object)))
}

/// Deletes the object; one that is gone already is fine. Returns whether it was there.
pub(crate) async fn delete(client: &Client, object: &Value) -> anyhow::Result<bool> {
    let (api, name) = api_of(client, object)?;
    match api.delete(&name, &DeleteParams::background()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(in_words(error)).with_context(|| format!("cannot delete {}", describe(object))),
    }
}

/// The object's value of an annotation.
pub(crate) fn annotation<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    object.annotations().get(key).map(String::as_str)
}

/// The server's own words, where it answered at all.
pub(crate) fn in_words(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    }
}
