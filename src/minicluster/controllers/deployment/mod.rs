//! Deployments: one ReplicaSet per pod template, and the way from one to the next.
//!
//! The sizes are decided by [`rollout`], what is reported by [`status`]; here is what carries it out.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use serde_json::json;

use self::{
    rollout::{Limits, Set},
    status::Inputs,
};
use super::{Workloads, after, claim, enqueue_owner, template};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

mod new_set;
mod rollout;
mod status;

const NAME: &str = "deployment-controller";
const WORKERS: usize = 2;
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// ReplicaSets without pods that are kept for rollbacks, by default.
const HISTORY: i32 = 10;

/// What a Deployment allows, from its spec.
fn limits(spec: &DeploymentSpec) -> Limits {
    let replicas = spec.replicas.unwrap_or(1);
    let rolling = spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    if !is_rolling(spec) {
        return Limits {
            replicas,
            max_surge: 0,
            max_unavailable: 0,
        };
    }
    let quarter = IntOrString::String("25%".into());
    let max_surge = resolve(
        rolling
            .and_then(|rolling| rolling.max_surge.as_ref())
            .unwrap_or(&quarter),
        replicas,
        true,
    );
    let max_unavailable = resolve(
        rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .unwrap_or(&quarter),
        replicas,
        false,
    );
    // With neither, nothing could ever move.
    let max_unavailable = if max_surge == 0 && max_unavailable == 0 {
        1
    } else {
        max_unavailable
    };
    Limits {
        replicas,
        max_surge,
        max_unavailable: max_unavailable.min(replicas),
    }
}

fn is_rolling(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// A number or a percentage of a total.
pub(super) fn resolve(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(total) + if round_up { 99 } else { 0 };
            i32::try_from(product / 100).unwrap_or(0)
        }
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn revision(set: &ReplicaSet) -> i64 {
    annotation(&set.metadata, REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0)
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn view(set: &ReplicaSet) -> Set {
    let number = |key| annotation(&set.metadata, key).and_then(|value| value.parse().ok());
    Set {
        replicas: size(set),
        available: set
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .unwrap_or(0),
        sized_for: number(DESIRED),
        sized_for_most: number(MOST),
    }
}

struct Controller {
    context: Arc<Context>,
    deployments: Arc<Store<Deployment>>,
    sets: Arc<Store<ReplicaSet>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let queue = Arc::new(Queue::default());
    let (deployments, sets) = (workloads.deployments.clone(), workloads.replica_sets.clone());
    let controller = Arc::new(Controller {
        context: context.clone(),
        deployments: deployments.clone(),
        sets: sets.clone(),
        writer: context.writer(NAME),
    });
    deployments.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    sets.on_change({
        let (queue, deployments) = (queue.clone(), deployments.clone());
        move |change| {
            enqueue_owner(&queue, change, "Deployment", &deployments, |deployment| {
                deployment.spec.as_ref().map(|spec| &spec.selector)
            });
        }
    });
    // Recreate waits for old pods to be gone, which no ReplicaSet status tells.
    context.pods.on_change({
        let (queue, sets) = (queue.clone(), sets.clone());
        move |change| {
            let Some(pod) = change
                .old
                .as_ref()
                .filter(|_| change.new.as_ref().is_none_or(|pod| pods::is_finished(pod)))
            else {
                return;
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let set = pods::controller_of(&pod.metadata)
                .filter(|owner| owner.kind == "ReplicaSet")
                .and_then(|owner| sets.get(&Key::new(Some(namespace), &owner.name)));
            if let Some(owner) = set.as_ref().and_then(|set| pods::controller_of(&set.metadata)) {
                queue.add(Key::new(Some(namespace), &owner.name));
            }
        }
    });
    queue::spawn(NAME, queue, WORKERS, &context.shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
}

/// The ReplicaSets of a Deployment.
struct Sets {
    new: Option<Arc<ReplicaSet>>,
    /// Oldest first.
    old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    fn sort(spec: &DeploymentSpec, mut all: Vec<Arc<ReplicaSet>>) -> Self {
        all.sort_by(|a, b| {
            let created = |set: &ReplicaSet| set.metadata.creation_timestamp.clone();
            created(a)
                .cmp(&created(b))
                .then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let matches = |set: &ReplicaSet| {
            let held = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            held.is_some_and(|held| template::equal_but(held, &spec.template, HASH))
        };
        // The oldest of several, so that everybody picks the same.
        let new = all.iter().position(|set| matches(set)).map(|index| all.remove(index));
        Self { new, old: all }
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(None);
        };
        let Some(spec) = deployment.spec.as_ref() else {
            return Ok(None);
        };
        let limits = limits(spec);
        let mut sets = Sets::sort(spec, self.claim(&deployment, spec).await?);
        if pods::is_deleting(&deployment.metadata) {
            return self.report(&deployment, limits, &sets, false, None).await;
        }
        let mut created = false;
        let mut failure = None;
        let paused = spec.paused == Some(true);
        if !paused {
            match self.ensure_new(&deployment, spec, limits, &mut sets).await {
                Ok(made) => created = made,
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none() {
            self.resize_or_roll(&deployment, spec, limits, &mut sets, paused)
                .await?;
        }
        let message = failure.as_ref().map(write::Error::message);
        let requeue = self
            .report(&deployment, limits, &sets, created, message.as_deref())
            .await?;
        if !paused && failure.is_none() {
            self.clean_up(&deployment, spec, limits, &sets).await?;
        }
        match failure {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(requeue),
        }
    }

    async fn claim(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
    ) -> Result<Vec<Arc<ReplicaSet>>, write::Error> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let around = self.sets.list_in(Some(namespace), |_| true);
        let claims = claim::claims(&deployment.metadata, &spec.selector, around);
        for set in claims.release {
            let patch = claim::release(&set.metadata, &deployment.metadata);
            self.writer
                .patch(&self.sets, &Key::from_meta(&set.metadata), &patch)
                .await?;
        }
        let mut mine = claims.mine;
        for set in claims.adopt {
            let patch = claim::adoption(&set.metadata, &pods::controller_ref(deployment));
            mine.push(Arc::new(
                self.writer
                    .patch(&self.sets, &Key::from_meta(&set.metadata), &patch)
                    .await?,
            ));
        }
        Ok(mine)
    }

    async fn resize_or_roll(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        limits: Limits,
        sets: &mut Sets,
        paused: bool,
    ) -> Result<(), write::Error> {
        let old: Vec<Set> = sets.old.iter().map(|set| view(set)).collect();
        let new = sets.new.as_deref().map(view);
        // Newest first, the current one in front.
        let all: Vec<Set> = new.iter().chain(old.iter().rev()).cloned().collect();
        if paused || rollout::is_resized(limits, &all) {
            let sizes = rollout::resize(limits, &all, new.as_ref().map(|_| 0), is_rolling(spec));
            let mut sizes = sizes.into_iter();
            let new_size = new.as_ref().and_then(|_| sizes.next());
            let old_sizes: Vec<i32> = sizes.rev().collect();
            return self.scale_all(deployment, limits, sets, new_size, &old_sizes).await;
        }
        let Some(new) = new else { return Ok(()) };
        let (new_size, old_sizes) = if is_rolling(spec) {
            rollout::roll(limits, &new, &old)
        } else {
            rollout::recreate(limits, &new, &old, self.has_running_pods(&sets.old))
        };
        self.scale_all(deployment, limits, sets, Some(new_size), &old_sizes)
            .await
    }

    fn has_running_pods(&self, sets: &[Arc<ReplicaSet>]) -> bool {
        sets.iter().any(|set| {
            let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
            let runs = |pod: &Pod| pods::is_controlled_by(&pod.metadata, &set.metadata) && !pods::is_finished(pod);
            !self.context.pods.list_in(Some(namespace), runs).is_empty()
        })
    }

    async fn scale_all(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &mut Sets,
        new: Option<i32>,
        old: &[i32],
    ) -> Result<(), write::Error> {
        if let (Some(set), Some(size)) = (sets.new.as_mut(), new) {
            self.scale(deployment, limits, set, size).await?;
        }
        for (set, size) in sets.old.iter_mut().zip(old) {
            self.scale(deployment, limits, set, *size).await?;
        }
        Ok(())
    }

    async fn scale(
        &self,
        deployment: &Deployment,
        limits: Limits,
        set: &mut Arc<ReplicaSet>,
        to: i32,
    ) -> Result<(), write::Error> {
        let from = size(set);
        let (desired, most) = (limits.replicas.to_string(), limits.most().to_string());
        let annotated =
            annotation(&set.metadata, DESIRED) == Some(&desired) && annotation(&set.metadata, MOST) == Some(&most);
        // Sets without pods take no part in a resize, so their annotations may be old.
        if from == to && (annotated || to == 0) {
            return Ok(());
        }
        let mut patch = json!({"metadata": {"uid": set.metadata.uid, "annotations": {DESIRED: desired, MOST: most}}});
        if from != to {
            patch["spec"] = json!({"replicas": to});
        }
        *set = Arc::new(
            self.writer
                .patch(&self.sets, &Key::from_meta(&set.metadata), &patch)
                .await?,
        );
        if from != to {
            self.tell_scaled(deployment, set.metadata.name.as_deref().unwrap_or_default(), from, to);
        }
        Ok(())
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = if from == 0 {
            format!("Scaled {direction} replica set {set} to {to}")
        } else {
            format!("Scaled {direction} replica set {set} from {from} to {to}")
        };
        self.context
            .events
            .of(NAME)
            .normal(deployment, "ScalingReplicaSet", message);
    }

    async fn report(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &Sets,
        created: bool,
        failure: Option<&str>,
    ) -> Result<Requeue, write::Error> {
        let now = Timestamp::now();
        // The status subresource of this very version was perhaps written already in this reconcile.
        let current = self.deployments.get(&Key::from_meta(&deployment.metadata));
        let deployment = current.as_deref().unwrap_or(deployment);
        let old: Vec<&ReplicaSet> = sets.old.iter().map(|set| &**set).collect();
        let inputs = Inputs {
            deployment,
            limits,
            new: sets.new.as_deref(),
            old: &old,
            created,
            failure,
            now,
        };
        let (status, deadline) = status::status(&inputs);
        self.writer
            .set_status(&self.deployments, deployment, deployment.status.as_ref(), &status)
            .await?;
        Ok(deadline.map(|at| after(at, now)))
    }

    /// Deletes old sets beyond the history limit, once the rollout is complete.
    async fn clean_up(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        limits: Limits,
        sets: &Sets,
    ) -> Result<(), write::Error> {
        let current = self.deployments.get(&Key::from_meta(&deployment.metadata));
        let status = current.and_then(|current| current.status.clone()).unwrap_or_default();
        if !status::is_complete(deployment, limits.replicas, &status) {
            return Ok(());
        }
        let keep = usize::try_from(spec.revision_history_limit.unwrap_or(HISTORY)).unwrap_or(0);
        let empty = |set: &&Arc<ReplicaSet>| {
            size(set) == 0
                && set.status.as_ref().is_some_and(|status| status.replicas == 0)
                && set.metadata.generation <= set.status.as_ref().and_then(|status| status.observed_generation)
                && !pods::is_deleting(&set.metadata)
        };
        let mut unused: Vec<_> = sets.old.iter().filter(empty).collect();
        unused.sort_by_key(|set| Reverse(revision(set)));
        for set in unused.into_iter().skip(keep) {
            self.writer.delete(&self.sets, &**set, None).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn spec(value: Value) -> DeploymentSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn percentages_round_up_for_surge_and_down_for_unavailable() {
        let limits = limits(&spec(json!({"replicas": 10, "selector": {}, "template": {}})));
        assert_eq!((limits.max_surge, limits.max_unavailable), (3, 2));
    }

    #[test]
    fn a_rollout_can_always_move() {
        let none = json!({"replicas": 1, "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}});
        assert_eq!(limits(&spec(none)).max_unavailable, 1);
    }

    #[test]
    fn the_oldest_set_of_the_template_is_the_current_one() {
        let spec = spec(json!({"selector": {}, "template": {"metadata": {"labels": {"app": "web"}}}}));
        let set = |name: &str, created: &str, app: &str| -> Arc<ReplicaSet> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": name, "creationTimestamp": created},
                    "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": app, "pod-template-hash": name}}}},
                }))
                .unwrap(),
            )
        };
        let all = vec![
            set("late", "2026-01-03T00:00:00Z", "web"),
            set("early", "2026-01-02T00:00:00Z", "web"),
            set("other", "2026-01-01T00:00:00Z", "api"),
        ];
        let sets = Sets::sort(&spec, all);
        assert_eq!(sets.new.unwrap().metadata.name.as_deref(), Some("early"));
        assert_eq!(sets.old.len(), 2);
    }
}
