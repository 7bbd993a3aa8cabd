//! What to listen on for a pod: pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::PodSpec;

use super::containers;
use crate::node::{probe, process};

/// Ports that a pod listens on that names none: what most images listen on.
const USUAL_PORTS: [u16; 2] = [80, 8080];

/// Addresses to bind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Answered by this process.
    pub(crate) serve: Vec<SocketAddr>,
    /// The same, but no matter if they cannot be bound.
    pub(crate) perhaps: Vec<SocketAddr>,
    /// Passed on to a process of the pod.
    pub(crate) forward: Vec<(SocketAddr, SocketAddr)>,
}

/// The ports that containers and their probes name; on the host's address where it says so.
pub(crate) fn plan(spec: &PodSpec, ip: Ipv4Addr, host_ip: Ipv4Addr) -> Plan {
    let mut plan = Plan::default();
    let host_network = spec.host_network == Some(true);
    let at = |ip: Ipv4Addr, port: i32| Some(SocketAddr::new(IpAddr::V4(ip), u16::try_from(port).ok()?));
    let mut any = false;
    let mut servers = false;
    for container in containers(spec) {
        let process = process::is_process(container.image.as_deref());
        servers |= !process;
        for port in container
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        {
            any = true;
            let own = at(ip, port.container_port);
            if !process {
                push(&mut plan.serve, own);
            }
            let asked = port
                .host_ip
                .as_deref()
                .and_then(|ip| ip.parse::<Ipv4Addr>().ok())
                .filter(|ip| !ip.is_unspecified());
            let host = port
                .host_port
                .filter(|port| *port > 0)
                .and_then(|port| at(asked.unwrap_or(host_ip), port));
            if host_network || host.is_none() {
                continue;
            }
            match (process, host, own) {
                (true, Some(from), Some(to)) => plan.forward.push((from, to)),
                (_, host, _) => push(&mut plan.serve, host),
            }
        }
        for probe in [
            &container.readiness_probe,
            &container.liveness_probe,
            &container.startup_probe,
        ]
        .into_iter()
        .flatten()
        {
            let port = probe
                .http_get
                .as_ref()
                .map(|http| &http.port)
                .or(probe.tcp_socket.as_ref().map(|tcp| &tcp.port));
            if let Some(port) = port.and_then(|port| probe::port(port, container))
                && !process
            {
                any = true;
                push(&mut plan.serve, at(ip, port.into()));
            }
        }
    }
    if !any && servers && !host_network {
        plan.perhaps = USUAL_PORTS.iter().filter_map(|port| at(ip, i32::from(*port))).collect();
    }
    plan
}

fn push(all: &mut Vec<SocketAddr>, address: Option<SocketAddr>) {
    if let Some(address) = address.filter(|address| !all.contains(address)) {
        all.push(address);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(spec: Value) -> Plan {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        super::plan(&spec, Ipv4Addr::new(127, 16, 64, 1), Ipv4Addr::new(127, 16, 0, 1))
    }

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn ports_of_containers_and_probes_are_served_once() {
        let plan = plan(json!({"containers": [
            {"name": "a", "image": "nginx", "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}], "readinessProbe": {"httpGet": {"port": 8080}}},
            {"name": "b", "image": "x", "livenessProbe": {"tcpSocket": {"port": 9000}}},
        ]}));
        assert_eq!(plan.serve, addresses(&["127.16.64.1:8080", "127.16.64.1:9000"]));
        assert!(plan.perhaps.is_empty() && plan.forward.is_empty());
    }

    #[test]
    fn a_pod_without_ports_listens_where_images_usually_do() {
        assert_eq!(
            plan(json!({"containers": [{"name": "a", "image": "nginx"}]})).perhaps,
            addresses(&["127.16.64.1:80", "127.16.64.1:8080"])
        );
    }

    #[test]
    fn host_ports_are_served_or_lead_to_the_process() {
        let ports = json!([{"containerPort": 8080, "hostPort": 80}]);
        let server = plan(json!({"containers": [{"name": "a", "image": "nginx", "ports": ports}]}));
        assert_eq!(server.serve, addresses(&["127.16.64.1:8080", "127.16.0.1:80"]));
        let process = plan(json!({"containers": [{"name": "a", "image": "kubefed/federation", "ports": ports}]}));
        assert_eq!(
            process.forward,
            [("127.16.0.1:80".parse().unwrap(), "127.16.64.1:8080".parse().unwrap())]
        );
        assert!(process.serve.is_empty());
        let own = plan(
            json!({"hostNetwork": true, "containers": [{"name": "a", "image": "kubefed/federation", "ports": ports}]}),
        );
        assert_eq!(own, Plan::default());
    }
}
