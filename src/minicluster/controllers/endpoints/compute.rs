//! The endpoints of a Service, from its pods: a pure computation.
//!
//! Endpoints stay in the slice they are in, so that one pod that comes or goes changes one slice.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Node, ObjectReference, Pod, Service, ServicePort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::pods;

/// Label of a slice: its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a slice: who writes it.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] for slices of this controller, as on a real cluster.
pub(crate) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Most endpoints in a slice.
const CAPACITY: usize = 100;

/// What to do so that the slices say what the pods are.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Slices to create (with a generated name).
    pub(crate) create: Vec<EndpointSlice>,
    /// Slices to change to this.
    pub(crate) update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

/// Whether the slices of a Service are made here: it selects pods.
pub(crate) fn is_selecting(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName")
            && spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
    })
}

/// Whether a Service selects a pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    is_selecting(service)
        && service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .is_some_and(|selector| {
                selector
                    .iter()
                    .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
            })
}

/// The port of a pod that a Service port leads to; `None` if the pod has no port of that name.
pub(crate) fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            containers
                .flat_map(|container| container.ports.iter().flatten())
                .find_map(|candidate| {
                    let same = candidate.name.as_ref() == Some(name)
                        && candidate.protocol.as_deref().unwrap_or("TCP") == protocol;
                    same.then_some(candidate.container_port)
                })
        }
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let reachable = ports.filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(port, pod)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    reachable.collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>) -> Option<Endpoint> {
    let address = pods::pod_ip(pod)?.to_owned();
    let terminating = pods::is_deleting(&pod.metadata);
    let spec = service.spec.as_ref();
    let serving = pods::is_ready(pod);
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let zone = node.and_then(|node| {
        node.metadata
            .labels
            .as_ref()?
            .get("topology.kubernetes.io/zone")
            .cloned()
    });
    let pod_spec = pod.spec.as_ref();
    let hostname = pod_spec
        .and_then(|pod| pod.hostname.clone())
        .filter(|_| pod_spec.and_then(|pod| pod.subdomain.as_ref()) == service.metadata.name.as_ref());
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: pods::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        ..Endpoint::default()
    })
}

/// Orders ports, so that they can be keys.
type PortKey = Vec<(String, i32, String)>;

fn port_key(ports: &[EndpointPort]) -> PortKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ports
        .iter()
        .map(|port| (text(&port.name), port.port.unwrap_or(0), text(&port.protocol)))
        .collect()
}

struct Group {
    ports: Vec<EndpointPort>,
    /// By uid of the pod.
    endpoints: BTreeMap<String, Endpoint>,
}

/// Compares the slices that a Service should have with those it has.
pub(crate) fn reconcile<'a>(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    existing: impl IntoIterator<Item = &'a Arc<EndpointSlice>>,
) -> Changes {
    let mut groups: BTreeMap<PortKey, Group> = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| selects(service, pod) && !pods::is_finished(pod))
    {
        let node = pods::node_name(pod).and_then(&node);
        let Some(endpoint) = endpoint(service, pod, node.as_deref()) else {
            continue;
        };
        let ports = ports(service, pod);
        let group = groups.entry(port_key(&ports)).or_insert(Group {
            ports,
            endpoints: BTreeMap::new(),
        });
        group
            .endpoints
            .insert(pod.metadata.uid.clone().unwrap_or_default(), endpoint);
    }
    if groups.is_empty() {
        groups.insert(
            Vec::new(),
            Group {
                ports: Vec::new(),
                endpoints: BTreeMap::new(),
            },
        );
    }
    let labels = labels(service);
    let mut changes = Changes::default();
    let mut kept: Vec<(PortKey, Arc<EndpointSlice>, EndpointSlice)> = Vec::new();
    for slice in existing {
        let key = port_key(slice.ports.as_deref().unwrap_or_default());
        let Some(group) = groups.get_mut(&key) else {
            changes.delete.push(slice.clone());
            continue;
        };
        let mut wanted = (**slice).clone();
        wanted.endpoints = Some(
            slice
                .endpoints
                .iter()
                .flatten()
                .filter_map(|held| group.endpoints.remove(uid(held)?))
                .collect(),
        );
        wanted.metadata.labels = Some(labels.clone());
        kept.push((key, slice.clone(), wanted));
    }
    for (key, group) in groups {
        let mut left = group.endpoints.into_values();
        let mut any = false;
        for (_, _, wanted) in kept.iter_mut().filter(|(held, ..)| *held == key) {
            let endpoints = wanted.endpoints.get_or_insert_default();
            endpoints.extend(left.by_ref().take(CAPACITY.saturating_sub(endpoints.len())));
            any = true;
        }
        loop {
            let endpoints: Vec<_> = left.by_ref().take(CAPACITY).collect();
            // A Service without pods has one empty slice.
            if endpoints.is_empty() && (any || !key.is_empty()) {
                break;
            }
            any = true;
            changes
                .create
                .push(new_slice(service, &labels, &group.ports, endpoints));
        }
    }
    settle(kept, &mut changes);
    changes
}

/// Drops slices that became empty (but the last one) and keeps those that did not change.
fn settle(kept: Vec<(PortKey, Arc<EndpointSlice>, EndpointSlice)>, changes: &mut Changes) {
    let mut spare = kept.len() + changes.create.len();
    for (_, held, wanted) in kept {
        let empty = wanted.endpoints.as_ref().is_none_or(Vec::is_empty);
        if empty && spare > 1 {
            spare -= 1;
            changes.delete.push(held);
        } else if held.endpoints.as_deref().unwrap_or_default() != wanted.endpoints.as_deref().unwrap_or_default()
            || held.metadata.labels != wanted.metadata.labels
        {
            changes.update.push(wanted);
        }
    }
}

fn uid(endpoint: &Endpoint) -> Option<&String> {
    endpoint.target_ref.as_ref()?.uid.as_ref()
}

fn labels(service: &Service) -> pods::Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    labels
}

fn new_slice(
    service: &Service,
    labels: &pods::Labels,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![pods::controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}

#[cfg(test)]
#[path = "compute_tests.rs"]
mod tests;
