//! What must be there before the first request.

use std::net::IpAddr;

use apimachinery::{Object, status::Status};
use serde_json::{Value, json};

use crate::{
    authn::UserInfo,
    errors,
    registry::{
        Registry,
        update::Change,
        write::{Warnings, Write},
    },
    request::options::WriteOptions,
};

/// The namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Replaces what differs from the wanted object in `fields`; makes the object if it is not there.
struct Ensure {
    object: Object,
    fields: &'static [&'static str],
}

impl Change for Ensure {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let Some(current) = current else {
            return Ok(self.object.clone());
        };
        let mut object = current.clone();
        for field in self.fields {
            object[*field] = self.object[*field].clone();
        }
        Ok(object)
    }

    fn may_create(&self) -> bool {
        true
    }
}

async fn ensure(registry: &Registry, path: (&str, &str, &str), namespace: &str, change: Ensure) -> Result<(), Status> {
    let (group, version, plural) = path;
    let Some(resource) = registry.resource(group, version, plural) else {
        return Ok(());
    };
    let name = change.object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let user = UserInfo {
        username: "system:apiserver".into(),
        ..UserInfo::default()
    };
    let options = WriteOptions {
        field_manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    let write = Write {
        resource,
        subresource: "",
        namespace,
        options: &options,
        user: &user,
        warnings: &Warnings::default(),
        now: jiff::Timestamp::now(),
    };
    registry.update(&write, &name, &change).await.map(|_| ())
}

/// Makes the namespaces that are missing.
///
/// # Errors
/// What the store refuses.
pub(crate) async fn namespaces(registry: &Registry) -> Result<(), Status> {
    for name in NAMESPACES {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(registry, ("", "v1", "namespaces"), "", Ensure { object, fields: &[] }).await?;
    }
    Ok(())
}

/// Makes the Service `kubernetes`, and lets it lead to this server.
///
/// # Errors
/// What the store refuses.
pub(crate) async fn kubernetes_service(registry: &Registry, address: IpAddr, port: u16) -> Result<(), Status> {
    let Some(allocator) = &registry.allocator else {
        return Err(errors::internal("no range for Services"));
    };
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": allocator.first().to_string(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    });
    let unchanged: &[&str] = &[];
    ensure(
        registry,
        ("", "v1", "services"),
        "default",
        Ensure {
            object: service,
            fields: unchanged,
        },
    )
    .await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    let fields: &[&str] = &["endpoints", "ports"];
    ensure(
        registry,
        ("discovery.k8s.io", "v1", "endpointslices"),
        "default",
        Ensure { object: slice, fields },
    )
    .await?;
    let endpoints: Value = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    ensure(
        registry,
        ("", "v1", "endpoints"),
        "default",
        Ensure {
            object: endpoints,
            fields: &["subsets"],
        },
    )
    .await
}
