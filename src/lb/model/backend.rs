//! A Service's port to the addresses that serve it, cluster by cluster.

use std::{collections::BTreeMap, sync::Arc};

use api::well_known::{LABEL_CLUSTER, LABEL_SERVICE_NAME};
use apimachinery::Object;

use super::{Backend, Cluster, Endpoint, Member, Objects, Problem, Settings, annotations, json};

/// The port of an Ingress backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Port {
    Number(u16),
    Name(String),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// EndpointSlices by `namespace/service`.
pub(super) struct SliceIndex<'a>(BTreeMap<String, Vec<&'a Object>>);

impl<'a> SliceIndex<'a> {
    pub(super) fn new(objects: &'a Objects) -> Self {
        let mut index: BTreeMap<String, Vec<&Object>> = BTreeMap::new();
        for slice in objects.slices.values() {
            let namespace = json::text(slice, "/metadata/namespace").unwrap_or_default();
            if let Some(service) = json::label(slice, LABEL_SERVICE_NAME) {
                index.entry(format!("{namespace}/{service}")).or_default().push(slice);
            }
        }
        Self(index)
    }
}

pub(super) fn backend(
    key: Arc<str>,
    service_key: &str,
    service: Option<&Object>,
    port: &Port,
    settings: Settings,
    slices: &SliceIndex<'_>,
    clusters: &[Cluster],
) -> Backend {
    let mut backend = Backend {
        key,
        service: service_key.into(),
        problem: None,
        settings,
        members: Vec::new(),
    };
    let Some(service) = service else {
        backend.problem = Some(Problem::ServiceNotFound);
        return backend;
    };
    let Some(service_port) = find_port(service, port) else {
        backend.problem = Some(Problem::PortNotFound);
        return backend;
    };
    let mut members: BTreeMap<usize, Member> = BTreeMap::new();
    for slice in slices.0.get(service_key).into_iter().flatten() {
        let Some(name) = json::label(slice, LABEL_CLUSTER) else {
            continue;
        };
        let Some(cluster) = clusters.iter().position(|cluster| &*cluster.name == name) else {
            continue;
        };
        let member = members.entry(cluster).or_insert_with(|| Member {
            cluster,
            endpoints: Vec::new(),
            ready: 0.0,
            total: 0.0,
        });
        add_slice(member, slice, service_port);
    }
    backend.members = members.into_values().collect();
    backend
}

pub(super) fn find_port<'a>(service: &'a Object, port: &Port) -> Option<&'a Object> {
    json::list(service, "/spec/ports").iter().find(|candidate| match port {
        Port::Number(number) => candidate["port"].as_u64() == Some(u64::from(*number)),
        Port::Name(name) => candidate["name"].as_str() == Some(name),
    })
}

fn add_slice(member: &mut Member, slice: &Object, service_port: &Object) {
    let Some(port) = reachable_port(slice, service_port) else {
        return;
    };
    let ready = |endpoint: &Object| {
        endpoint
            .pointer("/conditions/ready")
            .and_then(Object::as_bool)
            .unwrap_or(true)
    };
    let endpoints = json::list(slice, "/endpoints");
    let before = member.endpoints.len();
    for endpoint in endpoints.iter().filter(|endpoint| ready(endpoint)) {
        // All addresses of one endpoint are the same pod: the first one does.
        let address = json::list(endpoint, "/addresses").first().and_then(Object::as_str);
        member.endpoints.extend(address.map(|host| Endpoint {
            host: host.to_owned(),
            port,
        }));
    }
    member.endpoints.sort();
    member.endpoints.dedup();
    let counted = json::annotation(slice, annotations::ENDPOINTS).and_then(|counts| {
        let counts: Object = serde_json::from_str(counts).ok()?;
        Some((counts["ready"].as_f64()?, counts["total"].as_f64()?))
    });
    let (ready, total) = counted.unwrap_or(((member.endpoints.len() - before) as f64, endpoints.len() as f64));
    member.ready += ready.min(total);
    member.total += total;
}

/// The port number under which a Service's port is reached through a slice.
fn reachable_port(slice: &Object, service_port: &Object) -> Option<u16> {
    let mapped = json::annotation(slice, annotations::SERVICE_PORTS).and_then(|ports| {
        let ports: Object = serde_json::from_str(ports).ok()?;
        ports.get(service_port["port"].as_u64()?.to_string())?.as_u64()
    });
    let named = || {
        let name = service_port["name"].as_str().unwrap_or_default();
        let port = json::list(slice, "/ports")
            .iter()
            .find(|port| port["name"].as_str().unwrap_or_default() == name);
        port?["port"].as_u64()
    };
    mapped
        .or_else(named)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}
