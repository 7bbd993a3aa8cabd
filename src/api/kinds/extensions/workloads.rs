//! Deployment, ReplicaSet and DaemonSet of `extensions/v1beta1`: their selectors default to the labels of the template,
//! and some defaults differ from `apps/v1`.

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    json::{default_to, default_zero, empty, entries, map_mut, put, remove},
    kind::{Conversion, Strategy},
    kinds::apps,
};

const fn conversion(deprecation: &'static str) -> Conversion {
    Conversion {
        group: "apps",
        version: "v1",
        to_storage,
        from_storage,
        validate: |_| ErrorList::new(),
        deprecation: Some(deprecation),
    }
}

pub(super) const DEPLOYMENT: Conversion =
    conversion("extensions/v1beta1 Deployment is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 Deployment");
pub(super) const REPLICA_SET: Conversion =
    conversion("extensions/v1beta1 ReplicaSet is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 ReplicaSet");
pub(super) const DAEMON_SET: Conversion =
    conversion("extensions/v1beta1 DaemonSet is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 DaemonSet");

/// Set by the original's clients for "no limit".
const NO_LIMIT: i64 = i32::MAX as i64;

fn to_storage(object: &mut Object) {
    object["apiVersion"] = "apps/v1".into();
    remove(map_mut(object, "spec"), "rollbackTo");
    remove(map_mut(object, "spec"), "templateGeneration");
}

fn from_storage(object: &mut Object) {
    object["apiVersion"] = "extensions/v1beta1".into();
}

/// Labels of the template select the pods and label the object itself.
fn default_from_template(object: &mut Object) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if entries(&labels).next().is_none() {
        return;
    }
    if empty(&object["spec"]["selector"]) {
        put(map_mut(object, "spec"), "selector", json!({"matchLabels": labels}));
    }
    if empty(&object["metadata"]["labels"]) {
        put(map_mut(object, "metadata"), "labels", labels);
    }
}

pub(super) struct DeploymentDefaults;

impl Strategy for DeploymentDefaults {
    fn default(&self, object: &mut Object) {
        default_from_template(object);
        let spec = map_mut(object, "spec");
        default_to(spec, "revisionHistoryLimit", NO_LIMIT);
        default_to(spec, "progressDeadlineSeconds", NO_LIMIT);
        let strategy = map_mut(spec, "strategy");
        default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 1);
        }
        apps::deployment::DEF.strategy.default(object);
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        apps::deployment::DEF.strategy.row(object, now)
    }
}

pub(super) struct ReplicaSetDefaults;

impl Strategy for ReplicaSetDefaults {
    fn default(&self, object: &mut Object) {
        default_from_template(object);
        apps::replica_set::DEF.strategy.default(object);
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        apps::replica_set::DEF.strategy.row(object, now)
    }
}

pub(super) struct DaemonSetDefaults;

impl Strategy for DaemonSetDefaults {
    fn default(&self, object: &mut Object) {
        default_from_template(object);
        default_zero(map_mut(map_mut(object, "spec"), "updateStrategy"), "type", "OnDelete");
        apps::daemon_set::DEF.strategy.default(object);
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        apps::daemon_set::DEF.strategy.row(object, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selector_and_labels_come_from_the_template() {
        let mut object = json!({"metadata": {"name": "x"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        ReplicaSetDefaults.default(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"a": "b"}}));
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn a_deployment_of_that_time_updates_one_pod_at_a_time() {
        let mut object = json!({"metadata": {"name": "x"}, "spec": {"rollbackTo": {"revision": 1},
            "selector": {"matchLabels": {"k": "v"}}, "template": {"metadata": {"labels": {"a": "b"}}}}});
        DeploymentDefaults.default(&mut object);
        to_storage(&mut object);
        assert_eq!(object["apiVersion"], "apps/v1");
        assert_eq!(
            object["spec"]["strategy"]["rollingUpdate"],
            json!({"maxUnavailable": 1, "maxSurge": 1})
        );
        assert_eq!(object["spec"]["selector"]["matchLabels"], json!({"k": "v"}));
        assert!(object["spec"].get("rollbackTo").is_none());
        from_storage(&mut object);
        assert_eq!(object["apiVersion"], "extensions/v1beta1");
    }

    #[test]
    fn a_daemon_set_of_that_time_updates_on_delete() {
        let mut object = json!({"metadata": {"name": "x"}, "spec": {"template": {}}});
        DaemonSetDefaults.default(&mut object);
        assert_eq!(object["spec"]["updateStrategy"]["type"], "OnDelete");
    }
}
