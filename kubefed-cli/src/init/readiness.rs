//! Waiting for the control plane's Deployments, and saying why they are not ready: a cluster without a storage class or
//! an image that cannot be pulled should not need a search.

use std::time::Duration;

use anyhow::bail;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client};

use super::manifests;
use crate::progress::wait_for;

/// Waits until a Deployment's newest pods are ready.
pub(super) async fn deployment(host: &Client, namespace: &str, name: &str, limit: Duration) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(host.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(host.clone(), namespace);
    let component = kube::api::ListParams::default().labels(&manifests::component_selector(name));
    wait_for(&format!("Deployment {namespace}/{name} to be ready"), limit, || async {
        if is_ready(&deployments.get(name).await?) {
            return Ok(Some(()));
        }
        let pods = pods.list(&component).await?;
        match pods.items.iter().find_map(hindrance) {
            Some(hindrance) => bail!(hindrance),
            None => Ok(None),
        }
    })
    .await
}

fn is_ready(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= 1
            && status.ready_replicas.unwrap_or(0) >= 1
    })
}

/// What keeps a pod from running, if the cluster says so.
fn hindrance(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let words = match unscheduled {
        Some(condition) => {
            let mut words = condition.message.clone()?;
            if words.contains("PersistentVolumeClaim") {
                words += " (give --storage-class, or --persistent-storage=false)";
            }
            words
        }
        None => status
            .container_statuses
            .iter()
            .flatten()
            .find_map(container_hindrance)?,
    };
    Some(format!("pod {name}: {words}"))
}

fn container_hindrance(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|&r| r != "ContainerCreating")?;
    let ended = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let message = ended
        .map(|ended| format!("exit code {}", ended.exit_code))
        .or_else(|| waiting.message.clone())
        .unwrap_or_default();
    Some(format!("{reason}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(status: Value) -> Option<String> {
        let pod = json!({"metadata": {"name": "apiserver-1"}, "status": status});
        hindrance(&serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn a_volume_that_cannot_be_had_is_reported_with_the_flags_that_help() {
        let said = said(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]}),
        )
        .expect("a hindrance");
        assert!(
            said.contains("apiserver-1") && said.contains("--storage-class"),
            "{said}"
        );
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_reported_in_the_nodes_words() {
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such host"});
        let said = said(json!({"containerStatuses": [
            {"name": "a", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": waiting}}]}));
        assert_eq!(said.as_deref(), Some("pod apiserver-1: ImagePullBackOff: no such host"));
    }

    #[test]
    fn a_pod_that_is_just_being_created_is_no_hindrance() {
        let waiting = json!({"reason": "ContainerCreating"});
        assert_eq!(
            said(
                json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [
                {"name": "a", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": waiting}}]})
            ),
            None
        );
    }
}
