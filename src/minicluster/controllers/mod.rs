//! The workload controllers of a minicluster. On a real cluster kube-controller-manager does this.
//!
//! Each is level-triggered: a change of an object, or of something it owns, puts its key into a
//! queue, and a reconcile makes the world fit what the object says now.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::{CronJob, Job},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::Resource;

use crate::{
    context::Context,
    informer::{self, Change, Key, Store},
    pods,
    queue::{self, Queue, Requeue, after},
    write,
};

mod claim;
mod cronjob;
mod daemonset;
mod deployment;
mod endpoints;
mod history;
mod job;
mod pod_gc;
mod replicaset;
mod statefulset;
mod template;
mod token_secrets;
pub(crate) mod volume_claims;

/// The caches of the workload kinds.
pub(crate) struct Workloads {
    replica_sets: Arc<Store<ReplicaSet>>,
    deployments: Arc<Store<Deployment>>,
    daemon_sets: Arc<Store<DaemonSet>>,
    stateful_sets: Arc<Store<StatefulSet>>,
    jobs: Arc<Store<Job>>,
    cron_jobs: Arc<Store<CronJob>>,
    revisions: Arc<Store<ControllerRevision>>,
}

/// Starts every controller; `ca` is the PEM of the API server's CA. They run until the context shuts down.
pub(crate) async fn start(context: &Arc<Context>, ca: &str) {
    let (rest, shutdown) = (&context.rest, &context.shutdown);
    let workloads = Workloads {
        replica_sets: informer::start(rest, shutdown),
        deployments: informer::start(rest, shutdown),
        daemon_sets: informer::start(rest, shutdown),
        stateful_sets: informer::start(rest, shutdown),
        jobs: informer::start(rest, shutdown),
        cron_jobs: informer::start(rest, shutdown),
        revisions: informer::start(rest, shutdown),
    };
    // A controller that saw its owners but not yet their pods would create every pod a second time.
    context.synced().await;
    workloads.replica_sets.synced().await;
    workloads.jobs.synced().await;
    replicaset::start(context, &workloads);
    deployment::start(context, &workloads);
    daemonset::start(context, &workloads);
    statefulset::start(context, &workloads);
    job::start(context, &workloads);
    cronjob::start(context, &workloads);
    endpoints::start(context);
    token_secrets::start(context, ca);
    pod_gc::start(context);
    volume_claims::start(context, true);
}

/// A controller of objects that own pods.
trait PodController: Send + Sync + 'static {
    /// What it controls.
    type Owner: Resource<DynamicType = ()> + Send + Sync + 'static;
    /// Its name, which is its field manager too.
    const NAME: &'static str;
    /// Reconciles at a time.
    const WORKERS: usize;

    /// Its cache of owners.
    fn owners(&self) -> &Arc<Store<Self::Owner>>;

    /// Selects the pods that an owner adopts; `None` if it adopts none.
    fn selector(owner: &Self::Owner) -> Option<&LabelSelector>;

    /// Makes the world fit what an owner says.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Requeue, write::Error>> + Send;
}

/// Has an owner reconciled whenever it or one of its pods changes. More keys may be put into the queue that is returned.
fn run<C: PodController>(context: &Context, controller: C) -> Arc<Queue<Key>> {
    let queue = Arc::new(Queue::default());
    let owners = controller.owners().clone();
    owners.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    let kind = <C::Owner as Resource>::kind(&());
    context.pods.on_change({
        let queue = queue.clone();
        move |change| enqueue_owner(&queue, change, &kind, &owners, C::selector)
    });
    let controller = Arc::new(controller);
    queue::spawn(C::NAME, queue.clone(), C::WORKERS, &context.shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
    queue
}

/// Puts the owner of a changed object into a queue; for an object without one, everybody who might adopt it.
fn enqueue_owner<K, O>(
    queue: &Queue<Key>,
    change: Change<'_, K>,
    kind: &str,
    owners: &Store<O>,
    selector: impl Fn(&O) -> Option<&LabelSelector>,
) where
    K: Resource,
    O: Resource,
{
    for object in change.versions() {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref();
        match pods::controller_of(meta) {
            Some(owner) if owner.kind == kind => queue.add(Key::new(namespace, &owner.name)),
            Some(_) => {}
            None => {
                let selects = |owner: &O| {
                    selector(owner).is_some_and(|selector| {
                        !pods::selector_is_empty(selector) && pods::selects(selector, meta.labels.as_ref())
                    })
                };
                for owner in owners.list_in(namespace, selects) {
                    queue.add(Key::from_meta(owner.meta()));
                }
            }
        }
    }
}
