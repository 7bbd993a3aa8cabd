//! DaemonSets: one pod on every node that should have one.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{PodController, Workloads, after, claim, history, run, template};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::Requeue,
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
    let controller = Controller {
        context: context.clone(),
        sets: workloads.daemon_sets.clone(),
        revisions: workloads.revisions.clone(),
        writer: context.writer(NAME),
    };
    let sets = workloads.daemon_sets.clone();
    let queue = run(context, controller);
    context.nodes.on_change(move |change| {
        let facts = |node: Option<&Arc<Node>>| {
            node.map(|node| {
                (
                    node.metadata.labels.clone(),
                    node.spec.as_ref().and_then(|spec| spec.taints.clone()),
                )
            })
        };
        if facts(change.old) != facts(change.new) {
            sets.keys().into_iter().for_each(|key| queue.add(key));
        }
    });
}

impl PodController for Controller {
    type Owner = DaemonSet;
    const NAME: &'static str = NAME;
    const WORKERS: usize = WORKERS;

    fn owners(&self) -> &Arc<Store<DaemonSet>> {
        &self.sets
    }

    fn selector(set: &DaemonSet) -> Option<&LabelSelector> {
        set.spec.as_ref().map(|spec| &spec.selector)
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        self.revisions.synced().await;
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        let around = self.context.pods.list_in(key.namespace(), |_| true);
        let claims = claim::claims(&set.metadata, &spec.selector, around);
        let mine = claims.settle(&self.writer, &self.context.pods, &*set).await?;
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
        let mine = self.context.pods.list_in(key.namespace(), |pod| {
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
}

impl Controller {
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
