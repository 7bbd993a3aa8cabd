//! The scheduler: gives each pending pod a node.
//!
//! One task decides, one pod at a time, over a [`decide::Ledger`] that follows the caches; binding
//! happens concurrently, and a pod counts on its node from the decision on. A pod that fits nowhere
//! is tried again whenever room may have appeared: a node came or changed, a pod went.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::backoff::Backoff;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Binding, ObjectReference, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use self::decide::{Ledger, Unschedulable};
use crate::{
    context::Context,
    informer::Key,
    pods,
    queue::chain,
    write::{self, Writer},
};

pub(crate) mod affinity;
mod decide;
pub(crate) mod resources;

const NAME: &str = "default-scheduler";
/// Bindings in flight.
const BINDINGS: usize = 8;
/// First and greatest delay before a binding that failed is tried again.
const RETRY: Backoff = Backoff {
    base: Duration::from_millis(50),
    max: Duration::from_secs(10),
};

#[derive(Default)]
struct Todo {
    /// Pods whose state is to be looked at.
    pods: BTreeSet<Key>,
    /// Nodes whose state is to be looked at.
    nodes: BTreeSet<String>,
}

#[derive(Default)]
struct Inbox {
    todo: Mutex<Todo>,
    wake: Notify,
}

impl Inbox {
    fn pod(&self, key: Key) {
        self.todo.lock().pods.insert(key);
        self.wake.notify_one();
    }
}

struct Scheduler {
    context: Arc<Context>,
    writer: Writer,
    inbox: Arc<Inbox>,
    bindings: Arc<Semaphore>,
    failures: Arc<Mutex<HashMap<Key, u32>>>,
    /// Pods (by uid) that are being bound, or were bound and are not seen as such yet.
    bound: Arc<Mutex<HashSet<String>>>,
}

/// Starts the scheduler for pods that name it (or nobody).
pub(crate) fn start(context: &Arc<Context>) {
    let inbox = Arc::new(Inbox::default());
    context.pods.on_change({
        let inbox = inbox.clone();
        move |change| inbox.pod(change.key.clone())
    });
    context.nodes.on_change({
        let inbox = inbox.clone();
        move |change| {
            inbox.todo.lock().nodes.insert(change.key.name().to_owned());
            inbox.wake.notify_one();
        }
    });
    let scheduler = Scheduler {
        context: context.clone(),
        writer: context.writer(NAME),
        inbox,
        bindings: Arc::new(Semaphore::new(BINDINGS)),
        failures: Arc::default(),
        bound: Arc::default(),
    };
    let shutdown = context.shutdown.clone();
    tokio::spawn(async move {
        shutdown.run_until_cancelled(scheduler.run()).await;
    });
}

/// Order of waiting pods: priority, then age.
type Place = (i64, Option<Time>, Key);

fn place(pod: &Pod) -> Place {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    (
        -i64::from(priority),
        pod.metadata.creation_timestamp.clone(),
        Key::from_meta(&pod.metadata),
    )
}

/// Whether the pod waits for this scheduler.
fn is_waiting(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let ours = spec
        .and_then(|spec| spec.scheduler_name.as_deref())
        .is_none_or(|name| name.is_empty() || name == NAME);
    let gated = spec
        .and_then(|spec| spec.scheduling_gates.as_ref())
        .is_some_and(|gates| !gates.is_empty());
    ours && !gated && pods::node_name(pod).is_none() && pods::is_active(pod)
}

impl Scheduler {
    async fn run(self) {
        self.context.synced().await;
        let mut ledger = Ledger::default();
        let mut waiting: BTreeSet<Place> = BTreeSet::new();
        let mut places: HashMap<Key, Place> = HashMap::new();
        // What was bound but is not in the cache yet.
        let mut uids: HashMap<Key, String> = HashMap::new();
        loop {
            let todo = std::mem::take(&mut *self.inbox.todo.lock());
            if todo.pods.is_empty() && todo.nodes.is_empty() {
                self.inbox.wake.notified().await;
                continue;
            }
            let mut room = false;
            for name in todo.nodes {
                match self.context.nodes.get(&Key::new(None, &name)) {
                    Some(node) => ledger.set_node(node),
                    None => ledger.remove_node(&name),
                }
                room = true;
            }
            let mut candidates = BTreeSet::new();
            for key in todo.pods {
                if let Some(place) = places.remove(&key) {
                    waiting.remove(&place);
                }
                let pod = self.context.pods.get(&key);
                let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
                if let Some(held) = uids.get(&key).filter(|held| Some(*held) != uid.as_ref()) {
                    room |= ledger.remove_pod(held);
                    self.bound.lock().remove(held);
                    uids.remove(&key);
                }
                let Some(pod) = pod else { continue };
                if let Some(node) = pods::node_name(&pod) {
                    room |= pods::is_finished(&pod);
                    ledger.set_pod(&pod, node);
                    let uid = uid.unwrap_or_default();
                    self.bound.lock().remove(&uid);
                    uids.insert(key.clone(), uid);
                    self.failures.lock().remove(&key);
                } else if is_waiting(&pod) && !self.bound.lock().contains(uid.as_deref().unwrap_or_default()) {
                    room |= ledger.remove_pod(&uid.unwrap_or_default());
                    candidates.insert(place(&pod));
                }
            }
            if room {
                candidates.append(&mut waiting);
                places.clear();
            }
            for place in candidates {
                let Some(pod) = self.context.pods.get(&place.2).filter(|pod| is_waiting(pod)) else {
                    continue;
                };
                match ledger.decide(&pod) {
                    Ok(node) => {
                        ledger.set_pod(&pod, &node);
                        let uid = pod.metadata.uid.clone().unwrap_or_default();
                        self.bound.lock().insert(uid.clone());
                        uids.insert(place.2.clone(), uid);
                        self.bind(pod, node).await;
                    }
                    Err(reason) => {
                        self.refuse(pod, &reason).await;
                        places.insert(place.2.clone(), place.clone());
                        waiting.insert(place);
                    }
                }
            }
        }
    }

    /// Binds in the background; a failure puts the pod back into the inbox after a while.
    async fn bind(&self, pod: Arc<Pod>, node: String) {
        let Ok(permit) = self.bindings.clone().acquire_owned().await else {
            return;
        };
        let (context, inbox) = (self.context.clone(), self.inbox.clone());
        let (failures, bound) = (self.failures.clone(), self.bound.clone());
        tokio::spawn(async move {
            let key = Key::from_meta(&pod.metadata);
            let outcome = bind(&context, &pod, &node).await;
            drop(permit);
            match outcome {
                Ok(()) => {
                    let message = format!("Successfully assigned {key} to {node}");
                    context.events.of(NAME).normal(&*pod, "Scheduled", message);
                }
                // Gone, or bound by somebody else: the cache will tell.
                Err(error) if matches!(write::code(&error), Some(404)) => {}
                Err(error) => {
                    tracing::debug!(pod = %key, node, error = chain(&error), "cannot bind");
                    let failed = {
                        let mut failures = failures.lock();
                        let failed = failures.entry(key.clone()).or_default();
                        *failed += 1;
                        *failed
                    };
                    tokio::time::sleep(RETRY.jittered(failed)).await;
                    bound.lock().remove(pod.metadata.uid.as_deref().unwrap_or_default());
                    inbox.pod(key);
                }
            }
        });
    }

    async fn refuse(&self, pod: Arc<Pod>, reason: &Unschedulable) {
        let message = reason.to_string();
        let held = pods::condition(&pod, pods::POD_SCHEDULED);
        if held.is_some_and(|held| held.status == "False" && held.message.as_deref() == Some(&message)) {
            return;
        }
        self.context
            .events
            .of(NAME)
            .warning(&*pod, "FailedScheduling", &message);
        let since = held
            .filter(|held| held.status == "False")
            .and_then(|held| held.last_transition_time.clone());
        let condition = PodCondition {
            type_: pods::POD_SCHEDULED.into(),
            status: "False".into(),
            reason: Some("Unschedulable".into()),
            message: Some(message),
            observed_generation: pod.metadata.generation,
            last_transition_time: since.or(Some(Time(Timestamp::now()))),
            last_probe_time: None,
        };
        let status = json!({"conditions": [condition]});
        if let Err(error) = self.writer.merge_status(&self.context.pods, &*pod, None, &status).await {
            tracing::debug!(error = chain(&error), "cannot report an unschedulable pod");
        }
    }
}

async fn bind(context: &Context, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api: Api<Pod> = Api::namespaced(
        context.client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let _: serde_json::Value = api
        .create_subresource("binding", name, &PostParams::default(), &binding)
        .await?;
    Ok(())
}
