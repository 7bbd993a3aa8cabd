//! What must be there before the first request.

use apimachinery::status::Status;
use serde_json::json;

use crate::{
    authn::UserInfo,
    registry::{
        Registry,
        write::{Warnings, Write},
    },
    request::options::WriteOptions,
};

/// The namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes what is missing.
///
/// # Errors
/// What the store refuses.
pub(crate) async fn run(registry: &Registry) -> Result<(), Status> {
    let Some(namespaces) = registry.resource("", "v1", "namespaces") else {
        return Ok(());
    };
    let options = WriteOptions {
        field_manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    for name in NAMESPACES {
        if registry.get(namespaces, "", name).await.is_ok() {
            continue;
        }
        let write = Write {
            resource: namespaces,
            subresource: "",
            namespace: "",
            options: &options,
            user: &UserInfo::default(),
            warnings: &Warnings::default(),
            now: jiff::Timestamp::now(),
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match registry.create(&write, object).await {
            Err(status) if status.code != 409 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
