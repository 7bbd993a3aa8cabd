//! Pods whose node is gone, or that a node's NoExecute taint drives away.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Toleration};

use super::after;
use crate::{
    context::Context,
    informer::Key,
    pods,
    queue::{self, Queue, Requeue},
    scheduler::affinity,
    write::{self, Writer},
};

const NAME: &str = "pod-garbage-collector";
const WORKERS: usize = 4;

/// What becomes of a pod because of its node.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// At this moment, unless the taint goes first.
    Leaves(Timestamp),
    /// Its node is no more: nobody is left to end it gracefully.
    Lost,
}

fn fate(pod: &Pod, node: Option<&Node>, now: Timestamp) -> Fate {
    let Some(node) = node else { return Fate::Lost };
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let mut leaves: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let covering = |toleration: &&Toleration| affinity::tolerates(std::slice::from_ref(toleration), taint);
        let mut covering = tolerations.iter().filter(covering).peekable();
        if covering.peek().is_none() {
            return Fate::Leaves(now);
        }
        let seconds = covering.filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = seconds {
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            let at = since
                .checked_add(SignedDuration::from_secs(seconds.max(0)))
                .unwrap_or(Timestamp::MAX);
            leaves = Some(leaves.map_or(at, |held| held.min(at)));
        }
    }
    leaves.map_or(Fate::Stays, Fate::Leaves)
}

struct Controller {
    context: Arc<Context>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let controller = Arc::new(Controller {
        context: context.clone(),
        writer: context.writer(NAME),
    });
    context.pods.on_change({
        let queue = queue.clone();
        move |change| {
            let node = |pod: Option<&Arc<Pod>>| pod.and_then(|pod| pods::node_name(pod)).map(str::to_owned);
            if node(change.old) != node(change.new) {
                queue.add(change.key.clone());
            }
        }
    });
    context.nodes.on_change({
        let (queue, pods) = (queue.clone(), context.pods.clone());
        move |change| {
            let taints = |node: Option<&Arc<Node>>| node.and_then(|node| node.spec.as_ref()?.taints.clone());
            if change.new.is_none() || taints(change.old) != taints(change.new) {
                let name = Some(change.key.name());
                for pod in pods.list().iter().filter(|pod| pods::node_name(pod) == name) {
                    queue.add(Key::from_meta(&pod.metadata));
                }
            }
        }
    });
    queue::spawn(NAME, queue, WORKERS, &context.shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let Some(pod) = self.context.pods.get(key) else {
            return Ok(None);
        };
        let Some(node) = pods::node_name(&pod) else {
            return Ok(None);
        };
        let now = Timestamp::now();
        match fate(&pod, self.context.nodes.get(&Key::new(None, node)).as_deref(), now) {
            Fate::Stays => Ok(None),
            Fate::Leaves(at) if at > now => Ok(Some(after(at, now).min(Duration::from_secs(3600)))),
            Fate::Leaves(_) if pods::is_deleting(&pod.metadata) => Ok(None),
            Fate::Leaves(_) => {
                self.context.events.of("taint-eviction-controller").normal(
                    &*pod,
                    "TaintManagerEviction",
                    format!("Marking for deletion Pod {key}"),
                );
                self.writer.delete(&self.context.pods, &*pod, None).await.map(|()| None)
            }
            Fate::Lost => self
                .writer
                .delete(&self.context.pods, &*pod, Some(0))
                .await
                .map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(effect: &str) -> Node {
        let taint = json!({"key": "down", "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": {"taints": [taint]}})).unwrap()
    }

    fn pod(tolerations: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [], "nodeName": "n1", "tolerations": tolerations}}))
            .unwrap()
    }

    #[test]
    fn only_a_no_execute_taint_drives_pods_away() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(fate(&pod(json!([])), Some(&node("NoSchedule")), now), Fate::Stays);
        assert_eq!(fate(&pod(json!([])), Some(&node("NoExecute")), now), Fate::Leaves(now));
        assert_eq!(
            fate(
                &pod(json!([{"key": "down", "operator": "Exists"}])),
                Some(&node("NoExecute")),
                now
            ),
            Fate::Stays
        );
        let for_a_while = json!([{"key": "down", "operator": "Exists", "tolerationSeconds": 300}]);
        assert_eq!(
            fate(&pod(for_a_while), Some(&node("NoExecute")), now),
            Fate::Leaves("2026-01-01T00:05:00Z".parse().unwrap())
        );
        assert_eq!(fate(&pod(json!([])), None, now), Fate::Lost);
    }
}
