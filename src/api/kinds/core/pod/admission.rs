//! What kube-apiserver's standard admission adds to every pod that can be added without looking anything up:
//! tolerations of nodes that are gone for a moment.

use serde_json::{Value, json};

use crate::json::{items, put, text};

/// Seconds a pod stays on a node that is not ready or cannot be reached.
const TOLERATED_SECONDS: i64 = 300;

/// Adds the tolerations every pod has, unless it has its own.
pub(super) fn tolerate(spec: &mut Value) {
    let mut tolerations = items(&spec["tolerations"]).to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|t| {
            let keys = [key, ""].contains(&text(&t["key"]));
            keys && ["NoExecute", ""].contains(&text(&t["effect"]))
        });
        if !tolerated {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": TOLERATED_SECONDS}));
        }
    }
    put(spec, "tolerations", tolerations.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_once() {
        let mut spec = json!({"tolerations": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]});
        tolerate(&mut spec);
        let keys: Vec<&str> = items(&spec["tolerations"]).iter().map(|t| text(&t["key"])).collect();
        assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
        let once = spec.clone();
        tolerate(&mut spec);
        assert_eq!(spec, once);
    }

    #[test]
    fn a_pod_that_tolerates_everything_is_left_alone() {
        let mut spec = json!({"tolerations": [{"operator": "Exists"}]});
        tolerate(&mut spec);
        assert_eq!(items(&spec["tolerations"]).len(), 1);
    }
}
