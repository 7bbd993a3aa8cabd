//! EndpointSlices of the Services that select pods, and Endpoints for those who still read them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::api::ObjectMeta;
use serde_json::json;

use crate::{
    context::Context,
    informer::{self, Change, Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

pub(crate) mod compute;

const NAME: &str = "endpointslice-controller";
const ENDPOINTS_NAME: &str = "endpoints-controller";
const WORKERS: usize = 2;
/// The old kind is one object however many pods there are: changes are collected for so long.
const ENDPOINTS_BATCH: Duration = Duration::from_millis(300);
/// Endpoints lists are cut off here, as on a real cluster.
const MOST_ADDRESSES: usize = 1000;

struct Controller {
    context: Arc<Context>,
    endpoints: Arc<Store<Endpoints>>,
    /// Services whose Endpoints are to be written, after a while.
    later: Arc<Queue<Key>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let endpoints = informer::start(&context.rest, &context.shutdown);
    let later = Arc::new(Queue::default());
    let controller = Arc::new(Controller {
        context: context.clone(),
        endpoints,
        later: later.clone(),
        writer: context.writer(NAME),
    });
    context.services.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    context.slices.on_change({
        let queue = queue.clone();
        move |change| {
            if let Some(slice) = change.latest().filter(|slice| is_ours(slice)) {
                let service = slice
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get(compute::SERVICE_NAME));
                let service = service.map(String::as_str).unwrap_or_default();
                queue.add(Key::new(change.key.namespace(), service));
            }
        }
    });
    context.pods.on_change({
        let (queue, services) = (queue.clone(), context.services.clone());
        move |change| {
            if is_relevant(&change) {
                for service in services.list_in(change.key.namespace(), |service| {
                    change.versions().any(|pod| compute::selects(service, pod))
                }) {
                    queue.add(Key::from_meta(&service.metadata));
                }
            }
        }
    });
    let old = controller.clone();
    queue::spawn(NAME, queue, WORKERS, &context.shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
    queue::spawn(ENDPOINTS_NAME, later, 1, &context.shutdown, move |key| {
        let controller = old.clone();
        async move { controller.write_endpoints(&key).await }
    });
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(compute::MANAGED_BY))
        .is_some_and(|by| by == compute::CONTROLLER)
}

/// Whether a change of a pod may change endpoints.
fn is_relevant(change: &Change<'_, Pod>) -> bool {
    let facts = |pod: &Pod| {
        let finished = pods::is_finished(pod);
        (
            pods::pod_ip(pod).map(str::to_owned),
            pods::is_ready(pod),
            finished,
            pods::is_deleting(&pod.metadata),
            pod.metadata.labels.clone(),
        )
    };
    match (change.old, change.new) {
        (Some(old), Some(new)) => facts(old) != facts(new),
        (Some(pod), None) | (None, Some(pod)) => pods::pod_ip(pod).is_some(),
        (None, None) => false,
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let Some(service) = self.context.services.get(key) else {
            return Ok(None);
        };
        if pods::is_deleting(&service.metadata) || !compute::is_selecting(&service) {
            return Ok(None);
        }
        let pods = self
            .context
            .pods
            .list_in(key.namespace(), |pod| compute::selects(&service, pod));
        let node = |name: &str| self.context.nodes.get(&Key::new(None, name));
        let slices = self.context.slices.list_in(key.namespace(), |slice| {
            let labels = slice.metadata.labels.as_ref();
            is_ours(slice)
                && labels
                    .and_then(|labels| labels.get(compute::SERVICE_NAME))
                    .is_some_and(|name| name == key.name())
        });
        let changes = compute::reconcile(&service, &pods, node, &slices);
        for slice in &changes.create {
            self.writer
                .create(&self.context.slices, slice)
                .await
                .map(drop)
                .or_else(ignore_terminating)?;
        }
        for slice in &changes.update {
            let meta = &slice.metadata;
            let patch = json!({"metadata": {"uid": meta.uid, "labels": meta.labels}, "endpoints": slice.endpoints});
            self.writer
                .merge(&self.context.slices, &Key::from_meta(&slice.metadata), &patch)
                .await?;
        }
        for slice in &changes.delete {
            self.writer.delete(&self.context.slices, &**slice, None).await?;
        }
        self.later.add_after(key.clone(), ENDPOINTS_BATCH);
        Ok(None)
    }

    async fn write_endpoints(&self, key: &Key) -> Result<Requeue, write::Error> {
        self.endpoints.synced().await;
        let Some(service) = self.context.services.get(key) else {
            return Ok(None);
        };
        if pods::is_deleting(&service.metadata) || !compute::is_selecting(&service) {
            return Ok(None);
        }
        let pods = self
            .context
            .pods
            .list_in(key.namespace(), |pod| compute::selects(&service, pod));
        let subsets = subsets(&service, &pods);
        match self.endpoints.get(key) {
            Some(held) if held.subsets.as_deref().unwrap_or_default() == subsets => {}
            Some(held) => {
                let patch = json!({"metadata": {"uid": held.metadata.uid}, "subsets": subsets});
                self.writer.merge(&self.endpoints, key, &patch).await?;
            }
            None => {
                let metadata = ObjectMeta {
                    name: service.metadata.name.clone(),
                    namespace: service.metadata.namespace.clone(),
                    labels: service.metadata.labels.clone(),
                    owner_references: Some(vec![pods::controller_ref(&*service)]),
                    ..ObjectMeta::default()
                };
                let endpoints = Endpoints {
                    metadata,
                    subsets: Some(subsets),
                };
                self.writer
                    .create(&self.endpoints, &endpoints)
                    .await
                    .map(drop)
                    .or_else(ignore_terminating)?;
            }
        }
        Ok(None)
    }
}

fn ignore_terminating(error: write::Error) -> Result<(), write::Error> {
    if error.is_namespace_terminating() {
        Ok(())
    } else {
        Err(error)
    }
}

/// The subsets of the old Endpoints kind, one for each set of ports.
fn subsets(service: &Service, all: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    let serving = all
        .iter()
        .filter(|pod| !pods::is_finished(pod) && !pods::is_deleting(&pod.metadata));
    for pod in serving.take(MOST_ADDRESSES) {
        let Some(ip) = pods::pod_ip(pod) else { continue };
        let service_ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let ports: Vec<_> = service_ports
            .filter_map(|port| {
                let protocol = Some(port.protocol.clone().unwrap_or_else(|| "TCP".into()));
                Some(EndpointPort {
                    name: port.name.clone(),
                    port: compute::target_port(port, pod)?,
                    protocol,
                    app_protocol: None,
                })
            })
            .collect();
        let address = EndpointAddress {
            ip: ip.to_owned(),
            node_name: pods::node_name(pod).map(str::to_owned),
            target_ref: Some(k8s_openapi::api::core::v1::ObjectReference {
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                uid: pod.metadata.uid.clone(),
                ..Default::default()
            }),
            hostname: None,
        };
        let index = subsets
            .iter()
            .position(|subset| subset.ports.as_ref() == Some(&ports))
            .unwrap_or_else(|| {
                subsets.push(EndpointSubset {
                    ports: Some(ports),
                    ..EndpointSubset::default()
                });
                subsets.len() - 1
            });
        let subset = &mut subsets[index];
        if pods::is_ready(pod) {
            subset.addresses.get_or_insert_default().push(address);
        } else {
            subset.not_ready_addresses.get_or_insert_default().push(address);
        }
    }
    subsets
}
