//! How many more replicas a cluster has room for: what its nodes can give, less what pods request.
//!
//! Sums over the whole cluster: what no single node has room for stays Unschedulable there and moves on later.

use std::fmt;

use apimachinery::{Object, quantity::Quantity};

/// Amounts of what pods request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU, in thousandths of a core.
    pub cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

fn quantity(value: &Object) -> Option<Quantity> {
    Quantity::from_json(value).ok()
}

fn cpu(list: &Object) -> Option<i64> {
    quantity(&list["cpu"]).map(|q| q.milli_value())
}

fn memory(list: &Object) -> Option<i64> {
    quantity(&list["memory"]).map(|q| q.value())
}

impl Resources {
    /// Reads a resource list as a Cluster's status or a node has it; `None` if there is none.
    #[must_use]
    pub fn of_list(list: &Object) -> Option<Self> {
        list.is_object().then(|| Self {
            cpu: cpu(list).unwrap_or(0),
            memory: memory(list).unwrap_or(0),
            pods: quantity(&list["pods"]).map_or(0, |q| q.value()),
        })
    }

    /// What a pod of this specification requests. A limit stands in for a request, as API servers default it;
    /// init containers run one after the other, beside those that keep running.
    #[must_use]
    pub fn of_pod(spec: &Object) -> Self {
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut running = Self::default();
        let mut peak = Self::default();
        for container in list("initContainers") {
            let one = Self::of_container(container);
            if container["restartPolicy"] == "Always" {
                running = running.plus(one, 1);
                peak = peak.max(running);
            } else {
                peak = peak.max(running.plus(one, 1));
            }
        }
        for container in list("containers") {
            running = running.plus(Self::of_container(container), 1);
        }
        let overhead = Self::of_list(&spec["overhead"]).unwrap_or_default();
        Self {
            pods: 1,
            ..running.max(peak).plus(overhead, 1)
        }
    }

    fn of_container(container: &Object) -> Self {
        let (requests, limits) = (&container["resources"]["requests"], &container["resources"]["limits"]);
        Self {
            cpu: cpu(requests).or_else(|| cpu(limits)).unwrap_or(0),
            memory: memory(requests).or_else(|| memory(limits)).unwrap_or(0),
            pods: 0,
        }
    }

    /// The greater of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            pods: self.pods.max(other.pods),
        }
    }

    /// With `times` as much of another added.
    #[must_use]
    pub fn plus(self, other: Self, times: i64) -> Self {
        let add = |a: i64, b: i64| a.saturating_add(b.saturating_mul(times));
        Self {
            cpu: add(self.cpu, other.cpu),
            memory: add(self.memory, other.memory),
            pods: add(self.pods, other.pods),
        }
    }

    /// With another taken off; negative where it was more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(other, -1)
    }

    /// How many pods with these requests fit into this, and which resource ends first.
    #[must_use]
    pub fn fits(self, each: Self) -> (i64, &'static str) {
        let of = |free: i64, need: i64| if need > 0 { (free / need).max(0) } else { i64::MAX };
        [
            (of(self.cpu, each.cpu), "cpu"),
            (of(self.memory, each.memory), "memory"),
            (of(self.pods, each.pods.max(1)), "pods"),
        ]
        .into_iter()
        .min_by_key(|(n, _)| *n)
        .unwrap_or((0, "pods"))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cpu {}m, memory {}Mi, pods {}",
            self.cpu,
            self.memory >> 20,
            self.pods
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_requests_what_its_containers_do_or_its_greatest_init_container() {
        let spec = json!({
            "containers": [
                {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
                {"resources": {"limits": {"cpu": "200m"}}},
                {},
            ],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"resources": {"requests": {"cpu": "1", "memory": "1Mi"}}},
            ],
            "overhead": {"cpu": "10m"},
        });
        let pod = Resources::of_pod(&spec);
        assert_eq!((pod.cpu, pod.memory, pod.pods), (1060, 64 << 20, 1));
    }

    #[test]
    fn the_scarcest_resource_decides() {
        let free = Resources {
            cpu: 1000,
            memory: 1 << 30,
            pods: 3,
        };
        let each = |cpu, memory| Resources { cpu, memory, pods: 1 };
        assert_eq!(free.fits(each(500, 1)), (2, "cpu"));
        assert_eq!(free.fits(each(0, 1 << 30)), (1, "memory"));
        assert_eq!(free.fits(each(0, 0)), (3, "pods"));
        let owing = Resources { cpu: -500, ..free };
        assert_eq!(owing.fits(each(500, 1)), (0, "cpu"));
    }
}
