//! Services: the same everywhere, with each member's own addresses; load balancers are concatenated.

use apimachinery::{Object, meta};
use client::{Resource, resources};
use serde_json::json;

use super::{Kind, remove};
use crate::sync::{observe::Observed, status::Merge};

pub(super) struct Services;

impl Kind for Services {
    fn resource(&self) -> Resource {
        resources::SERVICES
    }

    fn excluded(&self, object: &Object) -> bool {
        meta::name(object) == "kubernetes" && meta::namespace(object) == "default"
    }

    /// Addresses and node ports are each cluster's own. A headless Service stays headless.
    fn prune(&self, config: &mut Object) {
        let headless = config["spec"]["clusterIP"] == "None";
        remove(
            config,
            "/spec",
            &[
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "healthCheckNodePort",
                "externalIPs",
            ],
        );
        if headless {
            config["spec"]["clusterIP"] = json!("None");
        }
        if let Some(ports) = config.pointer_mut("/spec/ports").and_then(Object::as_array_mut) {
            for port in ports {
                remove(port, "", &["nodePort"]);
            }
        }
    }

    fn observe(&self, object: &Object) -> Observed {
        let mut observed = Observed::status(object, &["loadBalancer"]);
        // What the service controller needs to publish how it is reached.
        let spec = &object["spec"];
        let reach = json!({
            "loadBalancer": object["status"]["loadBalancer"],
            "type": spec["type"],
            "ports": spec["ports"],
        });
        observed.status = reach.to_string().into();
        observed
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut ingress: Vec<Object> = input
            .copies
            .iter()
            .filter_map(|c| c.status["loadBalancer"]["ingress"].as_array())
            .flatten()
            .cloned()
            .collect();
        ingress.sort_by_key(ToString::to_string);
        ingress.dedup();
        Some(if ingress.is_empty() {
            json!({"loadBalancer": {}})
        } else {
            json!({"loadBalancer": {"ingress": ingress}})
        })
    }
}
