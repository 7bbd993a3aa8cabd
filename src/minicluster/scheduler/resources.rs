//! Amounts of resources: what a pod asks for and what a node has.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Node, Pod, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

/// Amounts by resource name, in thousandths of the unit (as CPU is).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts(BTreeMap<String, i128>);

impl Amounts {
    /// From a list of quantities; what cannot be read counts as nothing.
    pub(crate) fn read(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amounts = list
            .into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), milli(&quantity.0)?)));
        Self(amounts.collect())
    }

    /// One amount.
    pub(crate) fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Every amount that is not zero.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        self.0
            .iter()
            .filter(|(_, amount)| **amount != 0)
            .map(|(name, amount)| (name.as_str(), *amount))
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i128, i128) -> i128) {
        for (name, amount) in &other.0 {
            let held = self.0.entry(name.clone()).or_insert(0);
            *held = with(*held, *amount);
        }
    }

    /// Adds other amounts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, |held, amount| held + amount);
    }

    /// Subtracts other amounts.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.combine(other, |held, amount| held - amount);
    }
}

/// Thousandths of the unit in a quantity such as `100m`, `1.5Gi` or `1e3`, rounded up.
fn milli(text: &str) -> Option<i128> {
    apimachinery::quantity::Quantity::parse(text)
        .ok()
        .map(|quantity| quantity.milli_value().into())
}

fn requests(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    let mut amounts = Amounts::read(resources.and_then(|resources| resources.limits.as_ref()));
    // A limit without a request is a request.
    let requested = Amounts::read(resources.and_then(|resources| resources.requests.as_ref()));
    amounts.0.extend(requested.0);
    amounts
}

/// What a pod asks for: its containers and sidecars together, or its greediest init container; its overhead; one pod.
pub(crate) fn of_pod(spec: &PodSpec) -> Amounts {
    let mut total = Amounts::default();
    for container in &spec.containers {
        total.add(&requests(container));
    }
    let mut sidecars = Amounts::default();
    let mut greatest = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let mut now = requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&now);
            sidecars.add(&now);
            now = sidecars.clone();
        } else {
            now.add(&sidecars);
        }
        greatest.combine(&now, i128::max);
    }
    total.combine(&greatest, i128::max);
    total.add(&Amounts::read(spec.overhead.as_ref()));
    total.0.insert("pods".to_owned(), 1_000);
    total
}

/// What a node has for pods.
pub(crate) fn of_node(node: &Node) -> Amounts {
    let status = node.status.as_ref();
    Amounts::read(status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref())))
}

/// The host ports that a pod takes: address (`0.0.0.0` is all), protocol, port.
pub(crate) fn host_ports(pod: &Pod) -> Vec<(String, String, i32)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let ip = port
                .host_ip
                .clone()
                .filter(|ip| !ip.is_empty())
                .unwrap_or_else(|| "0.0.0.0".into());
            Some((ip, port.protocol.clone().unwrap_or_else(|| "TCP".into()), number))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let cases = [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("1Ki", 1_024_000),
            ("0.5Gi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1n", 1),
            ("2k", 2_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        assert_eq!(milli("much"), None);
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_greediest_init_container() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}, {"name": "b", "resources": {"limits": {"cpu": "200m", "memory": "1Mi"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "500m"}}}],
        }))
        .unwrap();
        let amounts = of_pod(&spec);
        assert_eq!(
            (amounts.get("cpu"), amounts.get("memory"), amounts.get("pods")),
            (500, 1000 << 20, 1000)
        );
    }
}
