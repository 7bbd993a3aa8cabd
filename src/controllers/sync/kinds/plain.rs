//! Kinds that are copied as they are.

use apimachinery::{Object, meta};
use client::{Resource, resources};
use serde_json::json;

use super::{Kind, remove};
use crate::sync::{observe::Observed, status::Merge};

/// Namespaces of the control planes themselves: never propagated, never deleted, nor anything in them.
#[must_use]
pub fn is_system_namespace(name: &str) -> bool {
    name.starts_with("kube-") || name == api::well_known::SYSTEM_NAMESPACE
}

pub(super) struct Namespaces;

impl Kind for Namespaces {
    fn resource(&self) -> Resource {
        resources::NAMESPACES
    }

    // Every cluster has its own default namespace; its content is propagated, it is not.
    fn excluded(&self, object: &Object) -> bool {
        let name = meta::name(object);
        name == "default" || is_system_namespace(name)
    }

    fn prune(&self, config: &mut Object) {
        if let Some(map) = config.as_object_mut() {
            map.shift_remove("spec");
        }
        remove(config, "/metadata/labels", &["kubernetes.io/metadata.name"]);
    }
}

pub(super) struct ConfigMaps;

impl Kind for ConfigMaps {
    fn resource(&self) -> Resource {
        resources::CONFIG_MAPS
    }

    // Published by every cluster into every namespace.
    fn excluded(&self, object: &Object) -> bool {
        meta::name(object) == "kube-root-ca.crt"
    }
}

pub(super) struct Secrets;

impl Kind for Secrets {
    fn resource(&self) -> Resource {
        resources::SECRETS
    }

    // Tokens are good for the cluster that signed them only.
    fn excluded(&self, object: &Object) -> bool {
        object["type"] == "kubernetes.io/service-account-token" || object["type"] == "bootstrap.kubernetes.io/token"
    }
}

pub(super) struct ServiceAccounts;

impl Kind for ServiceAccounts {
    fn resource(&self) -> Resource {
        resources::SERVICE_ACCOUNTS
    }

    fn excluded(&self, object: &Object) -> bool {
        meta::name(object) == "default"
    }

    fn prune(&self, config: &mut Object) {
        if let Some(map) = config.as_object_mut() {
            map.shift_remove("secrets");
        }
    }
}

pub(super) struct PriorityClasses;

impl Kind for PriorityClasses {
    fn resource(&self) -> Resource {
        resources::PRIORITY_CLASSES
    }

    // Every cluster has these of itself.
    fn excluded(&self, object: &Object) -> bool {
        meta::name(object).starts_with("system-")
    }
}

pub(super) struct NetworkPolicies;

impl Kind for NetworkPolicies {
    fn resource(&self) -> Resource {
        resources::NETWORK_POLICIES
    }
}

pub(super) struct CronJobs;

impl Kind for CronJobs {
    fn resource(&self) -> Resource {
        resources::CRON_JOBS
    }

    fn observe(&self, object: &Object) -> Observed {
        Observed::status(object, &["lastScheduleTime", "lastSuccessfulTime", "active"])
    }

    /// The latest times of any cluster; running jobs are named as in their clusters.
    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let mut status = json!({});
        for field in ["lastScheduleTime", "lastSuccessfulTime"] {
            if let Some(latest) = input.copies.iter().filter_map(|c| c.status[field].as_str()).max() {
                status[field] = json!(latest);
            }
        }
        let active: Vec<Object> = input
            .copies
            .iter()
            .filter_map(|c| c.status["active"].as_array())
            .flatten()
            .cloned()
            .collect();
        if !active.is_empty() {
            status["active"] = json!(active);
        }
        Some(status)
    }
}

pub(super) struct PodDisruptionBudgets;

impl Kind for PodDisruptionBudgets {
    fn resource(&self) -> Resource {
        resources::DISRUPTION_BUDGETS
    }

    fn observe(&self, object: &Object) -> Observed {
        Observed::status(
            object,
            &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"],
        )
    }

    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        Some(json!({
            "observedGeneration": input.observed_generation(),
            "disruptionsAllowed": input.sum("disruptionsAllowed"),
            "currentHealthy": input.sum("currentHealthy"),
            "desiredHealthy": input.sum("desiredHealthy"),
            "expectedPods": input.sum("expectedPods"),
        }))
    }
}
