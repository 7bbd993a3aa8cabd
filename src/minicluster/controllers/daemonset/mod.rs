//! DaemonSets: one pod on every node that should have one.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};

use super::{
    Workloads, after,
    claim::{self, Claims},
    enqueue_owner, history, template,
};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

mod plan;

const NAME: &str = "daemonset-controller";
const WORKERS: usize = 2;

struct Controller {
    context: Arc<Context>,
    sets: Arc<Store<DaemonSet>>,
    revisions: Arc<Store<ControllerRevision>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let queue = Arc::new(Queue::default());
    let sets = workloads.daemon_sets.clone();
    let controller = Arc::new(Controller {
        context: context.clone(),
        sets: sets.clone(),
        revisions: workloads.revisions.clone(),
        writer: context.writer(NAME),
    });
    sets.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key())
    });
    context.pods.on_change({
        let (queue, sets) = (queue.clone(), sets.clone());
        move |change| {
            enqueue_owner(&queue, change, "DaemonSet", &sets, |set| {
                set.spec.as_ref().map(|spec| &spec.selector)
            })
        }
    });
    context.nodes.on_change({
        let queue = queue.clone();
        move |change| {
            let facts = |node: &Option<Arc<Node>>| {
                node.as_ref().map(|node| {
                    (
                        node.metadata.labels.clone(),
                        node.spec.as_ref().and_then(|spec| spec.taints.clone()),
                    )
                })
            };
            if facts(&change.old) != facts(&change.new) {
                for set in sets.list() {
                    queue.add(Key::of(&*set));
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
        self.revisions.synced().await;
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        let around = self.context.pods.list_in(&key.namespace, |_| true);
        let Claims {
            mut mine,
            adopt,
            release,
        } = claim::claims(&set.metadata, &spec.selector, around);
        for pod in release {
            let patch = claim::release(&pod.metadata, &set.metadata);
            self.writer.patch(&self.context.pods, &Key::of(&*pod), &patch).await?;
        }
        for pod in adopt {
            let patch = claim::adoption(&pod.metadata, &pods::controller_ref(&*set));
            mine.push(Arc::new(
                self.writer.patch(&self.context.pods, &Key::of(&*pod), &patch).await?,
            ));
        }
        let nodes = self.context.nodes.list();
        let now = Timestamp::now();
        let deleting = pods::is_deleting(&set.metadata);
        let hash = if deleting {
            template::hash(&spec.template, None)
        } else {
            history::current(&self.revisions, &self.writer, &*set, &spec.template, plan::HASH).await?
        };
        if !deleting {
            let plan = plan::plan(&set, &nodes, &mine, &hash, now);
            self.execute(&set, &hash, plan).await?;
        }
        let mine = self.context.pods.list_in(&key.namespace, |pod| {
            pods::is_controlled_by(&pod.metadata, &set.metadata)
        });
        let (status, next) = plan::status(&set, &nodes, &mine, &hash, now);
        self.writer
            .set_status(&self.sets, &*set, set.status.as_ref(), &status)
            .await?;
        if !deleting {
            let used = |hash: &str| {
                mine.iter()
                    .any(|pod| pod.metadata.labels.iter().flatten().any(|(_, value)| value == hash))
            };
            history::clean_up(&self.revisions, &self.writer, &*set, spec.revision_history_limit, used).await?;
        }
        Ok(next.map(|at| after(at, now)))
    }

    async fn execute(&self, set: &DaemonSet, hash: &str, plan: plan::Plan) -> Result<(), write::Error> {
        let events = self.context.events.of(NAME);
        for node in plan.create {
            let pod = self.pod(set, hash, &node);
            match self.writer.create(&self.context.pods, &pod).await {
                Ok(created) => {
                    let name = created.metadata.name.unwrap_or_default();
                    events.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                }
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                Err(error) => {
                    events.warning(set, "FailedCreate", format!("Error creating: {}", error.message()));
                    return Err(error);
                }
            }
        }
        for pod in plan.delete {
            self.writer.delete(&self.context.pods, &*pod, None).await?;
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            events.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        Ok(())
    }

    fn pod(&self, set: &DaemonSet, hash: &str, node: &str) -> Pod {
        let pod_template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let mut pod = pods::from_template(&template::labelled(&pod_template, plan::HASH, hash), set);
        plan::tie(pod.spec.get_or_insert_default(), node);
        pod
    }
}
