//! PersistentVolumeClaims: the same everywhere, each bound to a volume of its own cluster. Data is not shared.

use apimachinery::Object;
use client::{Resource, resources};
use serde_json::json;

use super::{Kind, remove};
use crate::sync::{observe::Observed, status::Merge};

pub(super) struct PersistentVolumeClaims;

impl Kind for PersistentVolumeClaims {
    fn resource(&self) -> Resource {
        resources::VOLUME_CLAIMS
    }

    /// The volume is each cluster's own.
    fn prune(&self, config: &mut Object) {
        remove(config, "/spec", &["volumeName"]);
    }

    fn observe(&self, object: &Object) -> Observed {
        Observed::status(object, &["phase", "accessModes", "capacity"])
    }

    /// Bound when it is bound everywhere, with the modes and the size it has everywhere; lost when it is lost anywhere.
    fn merge(&self, input: &Merge<'_>) -> Option<Object> {
        let phases = || {
            input
                .copies
                .iter()
                .map(|copy| copy.status["phase"].as_str().unwrap_or("Pending"))
        };
        let phase = if phases().any(|phase| phase == "Lost") {
            "Lost"
        } else if phases().len() > 0 && phases().all(|phase| phase == "Bound") {
            "Bound"
        } else {
            "Pending"
        };
        let mut status = json!({"phase": phase});
        for field in ["accessModes", "capacity"] {
            let mut all = input.copies.iter().map(|copy| &copy.status[field]);
            if let Some(first) = all.next().filter(|first| !first.is_null())
                && all.all(|other| other == first)
            {
                status[field] = first.clone();
            }
        }
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use planner::Share;

    use super::*;
    use crate::sync::status::MemberStatus;

    fn merged(statuses: &[Object]) -> Object {
        let copies = statuses.iter().map(|status| MemberStatus {
            cluster: "c",
            share: Share::default(),
            current: true,
            reachable: true,
            status: status.clone(),
        });
        let merge = Merge {
            generation: 1,
            demand: Share::default(),
            previous: &Object::Null,
            copies: copies.collect(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        PersistentVolumeClaims.merge(&merge).expect("has a status")
    }

    #[test]
    fn a_claim_is_bound_when_it_is_bound_everywhere() {
        let bound = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        let bigger = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}});
        assert_eq!(merged(&[bound.clone(), bound.clone()]), bound);
        assert_eq!(
            merged(&[bound.clone(), bigger]),
            json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"]})
        );
        assert_eq!(merged(&[bound.clone(), json!({})])["phase"], "Pending");
        assert_eq!(merged(&[bound, json!({"phase": "Lost"})])["phase"], "Lost");
        assert_eq!(merged(&[]), json!({"phase": "Pending"}));
    }
}
