//! Where a Service is reachable and where that leads: pure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointSlice},
};

/// One address and port that a Service listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frontend {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Name of the Service's port; empty if it has none.
    pub(crate) port: String,
    /// It is a load balancer's.
    pub(crate) load_balancer: bool,
}

/// Whether a Service is given load balancer addresses here.
pub(crate) fn wants_load_balancer(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
}

fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
}

/// The ports that a load balancer needs.
pub(crate) fn service_ports(service: &Service) -> Vec<u16> {
    ports(service)
        .filter_map(|port| u16::try_from(port.port).ok())
        .collect()
}

/// All that a Service listens on: its cluster IP, its node ports on every node, its load balancer address.
pub(crate) fn frontends(service: &Service, nodes: &[Ipv4Addr], load_balancer: Option<Ipv4Addr>) -> Vec<Frontend> {
    let Some(spec) = service.spec.as_ref() else {
        return Vec::new();
    };
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    if kind == "ExternalName" {
        return Vec::new();
    }
    let cluster_ip: Option<IpAddr> = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok());
    let mut all = Vec::new();
    for port in ports(service) {
        let mut push = |ip: IpAddr, number: i32, load_balancer| {
            if let Ok(number) = u16::try_from(number)
                && number > 0
            {
                let name = port.name.clone().unwrap_or_default();
                all.push(Frontend {
                    address: SocketAddr::new(ip, number),
                    port: name,
                    load_balancer,
                });
            }
        };
        if let Some(ip) = cluster_ip {
            push(ip, port.port, false);
        }
        if matches!(kind, "NodePort" | "LoadBalancer") {
            for node in nodes {
                push(IpAddr::V4(*node), port.node_port.unwrap_or(0), false);
            }
        }
        if let Some(ip) = load_balancer.filter(|_| kind == "LoadBalancer") {
            push(IpAddr::V4(ip), port.port, true);
        }
    }
    all
}

/// The endpoints behind a Service port: the ready ones, or, if there are none, those that still serve while they end.
pub(crate) fn backends(port: &str, slices: &[Arc<EndpointSlice>]) -> Vec<SocketAddr> {
    let ready = collect(port, slices, |endpoint| {
        endpoint.conditions.as_ref().and_then(|held| held.ready) != Some(false)
    });
    if !ready.is_empty() {
        return ready;
    }
    collect(port, slices, |endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_some_and(|held| held.serving == Some(true) && held.terminating == Some(true))
    })
}

fn collect(port: &str, slices: &[Arc<EndpointSlice>], pick: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let named = slice
            .ports
            .iter()
            .flatten()
            .find(|held| held.name.as_deref().unwrap_or_default() == port);
        let Some(number) = named
            .and_then(|held| held.port)
            .and_then(|number| u16::try_from(number).ok())
        else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| pick(endpoint)) {
            let address = endpoint.addresses.first().and_then(|address| address.parse().ok());
            all.extend(address.map(|ip| SocketAddr::new(ip, number)));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn slice(endpoints: Value) -> Arc<EndpointSlice> {
        let value = json!({"addressType": "IPv4", "metadata": {}, "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn each_type_adds_to_the_addresses_of_the_one_before() {
        let ports =
            json!([{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let nodes = [Ipv4Addr::new(127, 16, 0, 1), Ipv4Addr::new(127, 16, 0, 2)];
        let reachable = |kind: &str| {
            let service = service(json!({"type": kind, "clusterIP": "127.16.32.9", "ports": ports}));
            let all = frontends(&service, &nodes, Some(Ipv4Addr::new(127, 16, 16, 1)));
            all.into_iter()
                .map(|frontend| frontend.address.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(reachable("ClusterIP"), ["127.16.32.9:80"]);
        assert_eq!(
            reachable("NodePort"),
            ["127.16.32.9:80", "127.16.0.1:30080", "127.16.0.2:30080"]
        );
        assert_eq!(reachable("LoadBalancer").last().unwrap(), "127.16.16.1:80");
        assert!(reachable("ExternalName").is_empty());
    }

    #[test]
    fn a_headless_service_listens_nowhere() {
        assert!(
            frontends(
                &service(json!({"clusterIP": "None", "ports": [{"port": 80}]})),
                &[],
                None
            )
            .is_empty()
        );
    }

    #[test]
    fn ready_endpoints_serve_and_ending_ones_only_in_need() {
        let ready = json!({"addresses": ["127.16.64.1"], "conditions": {"ready": true}});
        let ending =
            json!({"addresses": ["127.16.64.2"], "conditions": {"ready": false, "serving": true, "terminating": true}});
        let broken = json!({"addresses": ["127.16.64.3"], "conditions": {"ready": false}});
        let of = |endpoints: Value| {
            backends("http", &[slice(endpoints)])
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(json!([ready, ending, broken])), ["127.16.64.1:8080"]);
        assert_eq!(of(json!([ending, broken])), ["127.16.64.2:8080"]);
        assert!(of(json!([broken])).is_empty());
        assert!(backends("other", &[slice(json!([ready]))]).is_empty());
    }
}
