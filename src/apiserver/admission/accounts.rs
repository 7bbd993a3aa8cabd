//! What admission gives new pods of their ServiceAccount: its name, its image pull secrets, and credentials as a volume.

use std::time::Duration;

use apimachinery::{Object, status::Status};
use serde_json::{Value, json};

use crate::{
    errors,
    registry::{Registry, codec, metadata, write::Write},
};

/// Name of the account of pods that name none.
const DEFAULT: &str = "default";
/// Where containers look for credentials.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Begin of the name of the volume with the credentials.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Life of a token in seconds: an hour, and a bit that tells these tokens from others.
const TOKEN_SECONDS: i64 = 3607;
/// The default account of a namespace is made a moment after it: so often it is looked for, with a wait in between.
const ATTEMPTS: usize = 10;
const WAIT: Duration = Duration::from_millis(100);

/// Completes a new pod.
///
/// # Errors
/// 403 for an account that is not there.
pub(super) async fn complete(registry: &Registry, write: &Write<'_>, pod: &mut Object) -> Result<(), Status> {
    // Static pods have no account: their node runs them without asking anybody.
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return Ok(());
    }
    if text(&pod["spec"]["serviceAccountName"]).is_empty() {
        pod["spec"]["serviceAccountName"] = DEFAULT.into();
    }
    let account = find(registry, write, pod).await?;
    let mounts = [&pod["spec"], &account].map(|object| object["automountServiceAccountToken"].as_bool());
    if mounts.into_iter().flatten().next() != Some(false) {
        mount(pod, &metadata::generate_name(VOLUME_PREFIX));
    }
    if is_empty(&pod["spec"]["imagePullSecrets"]) && !is_empty(&account["imagePullSecrets"]) {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

async fn find(registry: &Registry, write: &Write<'_>, pod: &Object) -> Result<Object, Status> {
    let (namespace, name) = (
        metadata::text(pod, "namespace"),
        text(&pod["spec"]["serviceAccountName"]),
    );
    let Some(accounts) = registry.resource("", "v1", "serviceaccounts") else {
        return Ok(Value::Null);
    };
    let attempts = if name == DEFAULT { ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(WAIT).await;
        }
        match registry.get(accounts, namespace, name).await {
            Ok(found) => return codec::decode(&found),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
    Err(errors::forbidden(write.resource, metadata::text(pod, "name"), &why))
}

/// Gives every container that has nothing there yet the account's credentials, in a volume of this name unless the pod
/// brings its own.
fn mount(pod: &mut Object, volume: &str) {
    let volumes = pod["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let brought = volumes
        .iter()
        .map(|volume| text(&volume["name"]))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = brought.clone().unwrap_or_else(|| volume.to_owned());
    let mut mounted = false;
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            let there = mounts
                .as_array()
                .is_some_and(|all| all.iter().any(|mount| mount["mountPath"] == MOUNT_PATH));
            if !there {
                append(mounts, json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if mounted && brought.is_none() {
        append(&mut pod["spec"]["volumes"], credentials(&name));
    }
}

fn append(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

fn credentials(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(volumes: Value, mounts: Value) -> Object {
        json!({"spec": {"volumes": volumes, "containers": [{"name": "a"}, {"name": "b", "volumeMounts": mounts}]}})
    }

    #[test]
    fn each_container_gets_the_credentials_unless_something_is_mounted_there() {
        let own = json!([{"name": "mine", "mountPath": MOUNT_PATH}]);
        let mut pod = pod(json!([{"name": "mine", "emptyDir": {}}]), own.clone());
        mount(&mut pod, "kube-api-access-abcde");
        let containers = &pod["spec"]["containers"];
        assert_eq!(
            containers[0]["volumeMounts"],
            json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}])
        );
        assert_eq!(containers[1]["volumeMounts"], own);
        assert_eq!(pod["spec"]["volumes"][1], credentials("kube-api-access-abcde"));
    }

    #[test]
    fn a_copied_pod_keeps_the_volume_it_brings() {
        let mut pod = pod(json!([credentials("kube-api-access-first")]), Value::Null);
        mount(&mut pod, "kube-api-access-other");
        assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1));
        let mounted = &pod["spec"]["containers"][1]["volumeMounts"][0]["name"];
        assert_eq!(mounted, "kube-api-access-first");
    }
}
