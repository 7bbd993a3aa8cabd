//! How a federated Service is reached in one cluster, as an EndpointSlice of the federation. Pure.
//!
//! The addresses are those that work from outside the cluster: of its load balancer, else of its nodes, else (a flat
//! network) of its pods.

use api::well_known;
use apimachinery::{Object, meta};
use client::Key;
use serde_json::{Map, json};

use crate::cluster::nodes::Node;

/// Manager of the slices that this controller writes.
pub const MANAGER: &str = "federation-service-controller";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_PORTS: &str = "federation.kubernetes.io/service-ports";
const ENDPOINTS: &str = "federation.kubernetes.io/endpoints";
/// Most endpoints that one slice may have.
const MAX_ENDPOINTS: usize = 1000;

/// An EndpointSlice of a member, reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its Service.
    pub service: Key,
    /// `IPv4` or `IPv6`.
    pub family: Box<str>,
    /// Addresses of pods, and whether they are ready.
    pub endpoints: Box<[(Box<str>, bool)]>,
    /// Ports: name and number.
    pub ports: Box<[(Box<str>, i64)]>,
}

/// Reduces an EndpointSlice; none if it belongs to no Service.
#[must_use]
pub fn reduce(object: &Object) -> Option<Slice> {
    let service = meta::label(object, well_known::LABEL_SERVICE_NAME)?;
    let list = |field: &str| object[field].as_array().cloned().unwrap_or_default();
    let endpoints = list("endpoints");
    let endpoints = endpoints.iter().filter_map(|e| {
        let ready = e["conditions"]["ready"].as_bool().unwrap_or(true);
        Some((Box::from(e["addresses"][0].as_str()?), ready))
    });
    let ports = list("ports");
    let ports = ports
        .iter()
        .filter_map(|p| Some((Box::from(p["name"].as_str().unwrap_or_default()), p["port"].as_i64()?)));
    Some(Slice {
        service: Key::new(Some(meta::namespace(object)), service),
        family: object["addressType"].as_str().unwrap_or("IPv4").into(),
        endpoints: endpoints.collect(),
        ports: ports.collect(),
    })
}

impl Slice {
    /// Whether any of its endpoints is ready.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.endpoints.iter().any(|(_, ready)| *ready)
    }
}

/// Everything that decides how a Service is reached in a cluster.
#[derive(Debug)]
pub struct Reach<'a> {
    /// The federated Service: its key and uid.
    pub service: (&'a Key, &'a str),
    /// The Cluster object.
    pub cluster: &'a Object,
    /// Type, ports and load balancer of the Service in the member.
    pub member: &'a Object,
    /// Its slices in the member.
    pub slices: &'a [&'a Slice],
    /// The nodes of the member.
    pub nodes: &'a [&'a Node],
    /// Whether clients are to go elsewhere, because the cluster is drained and others can serve them.
    pub draining: bool,
}

/// Name of the slice of a Service in a cluster.
#[must_use]
pub fn slice_name(service: &Key, cluster: &str) -> Key {
    Key::new(service.namespace(), &format!("{}-{cluster}", service.name()))
}

struct Addresses {
    family: String,
    endpoints: Vec<(String, bool)>,
    /// Name, number at the Service, and number where it is reached.
    ports: Vec<(String, i64, i64)>,
}

/// The slice to publish.
#[must_use]
pub fn build(reach: &Reach<'_>) -> Object {
    let (key, uid) = reach.service;
    let cluster = meta::name(reach.cluster);
    let ready = reach
        .slices
        .iter()
        .flat_map(|s| &s.endpoints)
        .filter(|(_, ready)| *ready)
        .count();
    let total: usize = reach.slices.iter().map(|s| s.endpoints.len()).sum();
    let addresses = addresses(reach, ready > 0);
    let text = |a: &Object, b: &Object| {
        a.as_str()
            .filter(|t| !t.is_empty())
            .or(b.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let (spec, status) = (&reach.cluster["spec"], &reach.cluster["status"]);
    let mut labels = Map::new();
    for (label, value) in [
        (well_known::LABEL_SERVICE_NAME, key.name().to_owned()),
        (well_known::LABEL_CLUSTER, cluster.to_owned()),
        (well_known::LABEL_REGION, text(&status["region"], &spec["region"])),
        (well_known::LABEL_ZONE, text(&status["zones"][0], &spec["zones"][0])),
        (MANAGED_BY, MANAGER.to_owned()),
    ] {
        labels.insert(label.to_owned(), json!(value));
    }
    let numbers: Map<String, Object> = addresses
        .ports
        .iter()
        .map(|(_, port, at)| (port.to_string(), json!(at)))
        .collect();
    let mut annotations = Map::new();
    annotations.insert(SERVICE_PORTS.to_owned(), json!(Object::Object(numbers).to_string()));
    let counted = if reach.draining { 0 } else { ready };
    annotations.insert(
        ENDPOINTS.to_owned(),
        json!(json!({"ready": counted, "total": total}).to_string()),
    );
    let endpoint = |(address, ready): &(String, bool)| json!({"addresses": [address], "conditions": conditions(*ready, reach.draining)});
    let name = slice_name(key, cluster);
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name.name(),
            "namespace": key.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": key.name(), "uid": uid, "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": addresses.family,
        "endpoints": addresses.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": addresses.ports.iter().map(|(name, _, at)| json!({"name": name, "port": at, "protocol": "TCP"})).collect::<Vec<_>>(),
    })
}

/// A draining endpoint still serves what it has, as a pod does that is being deleted, and is to get no more.
fn conditions(ready: bool, draining: bool) -> Object {
    if draining {
        json!({"ready": false, "serving": ready, "terminating": true})
    } else {
        json!({ "ready": ready })
    }
}

fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn addresses(reach: &Reach<'_>, ready: bool) -> Addresses {
    let empty = Vec::new();
    let ports = reach.member["ports"].as_array().unwrap_or(&empty);
    let tcp = || {
        ports
            .iter()
            .filter(|p| p["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"))
    };
    let name = |p: &Object| p["name"].as_str().unwrap_or_default().to_owned();
    let number = |p: &Object, field: &str| p[field].as_i64().unwrap_or(0);
    let kind = reach.member["type"].as_str().unwrap_or("ClusterIP");
    if kind == "LoadBalancer" {
        let ingress = reach.member["loadBalancer"]["ingress"].as_array().unwrap_or(&empty);
        let of = |field: &str| -> Vec<(String, bool)> {
            ingress
                .iter()
                .filter_map(|i| Some((i[field].as_str()?.to_owned(), ready)))
                .collect()
        };
        let (ips, hosts) = (of("ip"), of("hostname"));
        let at = || tcp().map(|p| (name(p), number(p, "port"), number(p, "port"))).collect();
        if let Some((first, _)) = ips.first() {
            let family = family(first);
            let endpoints = ips
                .iter()
                .filter(|(ip, _)| self::family(ip) == family)
                .cloned()
                .collect();
            return Addresses {
                family: family.to_owned(),
                endpoints,
                ports: at(),
            };
        }
        if !hosts.is_empty() {
            return Addresses {
                family: "FQDN".to_owned(),
                endpoints: hosts,
                ports: at(),
            };
        }
    }
    if matches!(kind, "LoadBalancer" | "NodePort") {
        let mut endpoints: Vec<(String, bool)> = reach
            .nodes
            .iter()
            .filter(|n| n.usable && !n.address.is_empty())
            .map(|n| (n.address.to_string(), ready))
            .collect();
        endpoints.sort();
        endpoints.truncate(MAX_ENDPOINTS);
        let family = endpoints.first().map_or("IPv4", |(a, _)| family(a));
        endpoints.retain(|(address, _)| self::family(address) == family);
        let ports = tcp()
            .filter(|p| number(p, "nodePort") > 0)
            .map(|p| (name(p), number(p, "port"), number(p, "nodePort")))
            .collect();
        return Addresses {
            family: family.to_owned(),
            endpoints,
            ports,
        };
    }
    let family = reach.slices.first().map_or("IPv4", |s| &*s.family);
    let slices: Vec<_> = reach.slices.iter().filter(|s| &*s.family == family).collect();
    let mut endpoints: Vec<(String, bool)> = slices
        .iter()
        .flat_map(|s| &s.endpoints)
        .map(|(address, ready)| (address.to_string(), *ready))
        .collect();
    endpoints.sort();
    endpoints.dedup();
    endpoints.truncate(MAX_ENDPOINTS);
    let at = |port: &Object| {
        let wanted = name(port);
        slices
            .iter()
            .flat_map(|s| &s.ports)
            .find(|(found, _)| **found == *wanted)
            .map(|(_, number)| *number)
    };
    let ports = tcp()
        .filter_map(|p| Some((name(p), number(p, "port"), at(p)?)))
        .collect();
    Addresses {
        family: family.to_owned(),
        endpoints,
        ports,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(endpoints: &[(&str, bool)]) -> Slice {
        let endpoints: Vec<Object> = endpoints
            .iter()
            .map(|(a, ready)| json!({"addresses": [a], "conditions": {"ready": ready}}))
            .collect();
        reduce(&json!({
            "metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
        }))
        .expect("belongs to a service")
    }

    fn node(address: &str, usable: bool) -> Node {
        crate::cluster::nodes::reduce(&json!({"spec": {"unschedulable": !usable}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": address}]}}))
    }

    fn built(member: &Object, slices: &[&Slice], nodes: &[&Node]) -> Object {
        let cluster =
            json!({"metadata": {"name": "us"}, "spec": {}, "status": {"region": "us-east1", "zones": ["us-east1-b"]}});
        build(&Reach {
            service: (&Key::from("a/web"), "uid"),
            cluster: &cluster,
            member,
            slices,
            nodes,
            draining: false,
        })
    }

    fn addresses_of(slice: &Object) -> Vec<&str> {
        slice["endpoints"]
            .as_array()
            .expect("list")
            .iter()
            .filter_map(|e| e["addresses"][0].as_str())
            .collect()
    }

    #[test]
    fn a_load_balancer_is_reached_at_its_address_and_service_port() {
        let member = json!({"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            "loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
        let slice = built(&member, &[&slice(&[("10.0.0.1", true)])], &[]);
        assert_eq!(addresses_of(&slice), ["1.2.3.4"]);
        assert_eq!(slice["ports"], json!([{"name": "http", "port": 80, "protocol": "TCP"}]));
        assert_eq!(slice["metadata"]["name"], "web-us");
        assert_eq!(slice["metadata"]["labels"]["topology.kubernetes.io/region"], "us-east1");
    }

    #[test]
    fn a_load_balancer_with_a_hostname_is_an_fqdn_slice() {
        let member = json!({"type": "LoadBalancer", "ports": [{"port": 80}], "loadBalancer": {"ingress": [{"hostname": "lb.example"}]}});
        assert_eq!(built(&member, &[], &[])["addressType"], "FQDN");
    }

    #[test]
    fn node_ports_are_reached_on_usable_nodes() {
        let member = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
        let (good, cordoned) = (node("10.0.0.1", true), node("10.0.0.2", false));
        let slice = built(
            &member,
            &[&slice(&[("10.1.0.1", true), ("10.1.0.2", false)])],
            &[&good, &cordoned],
        );
        assert_eq!(addresses_of(&slice), ["10.0.0.1"]);
        assert_eq!(slice["ports"][0]["port"], 30080);
        assert_eq!(slice["metadata"]["annotations"][SERVICE_PORTS], r#"{"80":30080}"#);
        assert_eq!(slice["metadata"]["annotations"][ENDPOINTS], r#"{"ready":1,"total":2}"#);
    }

    #[test]
    fn a_load_balancer_without_an_address_yet_is_reached_by_its_node_ports() {
        let member = json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}], "loadBalancer": {}});
        assert_eq!(
            addresses_of(&built(&member, &[], &[&node("10.0.0.1", true)])),
            ["10.0.0.1"]
        );
    }

    #[test]
    fn a_draining_cluster_serves_what_it_has_and_gets_no_more() {
        let cluster = json!({"metadata": {"name": "us"}, "spec": {}, "status": {}});
        let slice = build(&Reach {
            service: (&Key::from("a/web"), "uid"),
            cluster: &cluster,
            member: &json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
            slices: &[&slice(&[("10.1.0.1", true)])],
            nodes: &[&node("10.0.0.1", true)],
            draining: true,
        });
        assert_eq!(
            slice["endpoints"][0]["conditions"],
            json!({"ready": false, "serving": true, "terminating": true})
        );
        assert_eq!(slice["metadata"]["annotations"][ENDPOINTS], r#"{"ready":0,"total":1}"#);
    }

    #[test]
    fn a_cluster_ip_is_reached_at_its_pods_on_their_ports() {
        let member = json!({"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]});
        let slice = built(&member, &[&slice(&[("127.16.0.2", true), ("127.16.0.3", false)])], &[]);
        assert_eq!(addresses_of(&slice), ["127.16.0.2", "127.16.0.3"]);
        assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
        assert_eq!(slice["ports"][0]["port"], 8080);
    }

    #[test]
    fn without_a_ready_pod_no_address_is_ready() {
        let member = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
        let slice = built(&member, &[&slice(&[("10.1.0.1", false)])], &[&node("10.0.0.1", true)]);
        assert_eq!(slice["endpoints"][0]["conditions"]["ready"], false);
    }
}
