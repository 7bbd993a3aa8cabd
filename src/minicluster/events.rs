//! Events about objects, as `kubectl describe` shows them.
//!
//! They are written in the background, one after the other, and dropped when too many wait: an
//! event must never delay the work that it tells about. The same event again raises a count.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// How many events may wait.
const WAITING: usize = 4096;
/// How many recent events are remembered to count repetitions.
const REMEMBERED: usize = 1024;
/// How many different events about one object are written before it is silenced, as clients of Kubernetes do:
/// a ReplicaSet with a thousand pods need not name each.
const BURST: u32 = 25;
/// How long a burst is remembered.
const WINDOW: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Note {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
    component: &'static str,
    host: Option<String>,
    at: Timestamp,
}

/// Takes events and writes them in the background.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    notes: mpsc::Sender<Note>,
    component: &'static str,
    host: Option<Arc<str>>,
}

impl Recorder {
    /// Starts the background task, which ends with `shutdown`.
    pub(crate) fn start(client: Client, shutdown: CancellationToken) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            shutdown.run_until_cancelled(write_all(client, waiting)).await;
        });
        Self {
            notes,
            component: "minicluster",
            host: None,
        }
    }

    /// A recorder for a component.
    pub(crate) fn of(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// A recorder for a component on a node.
    pub(crate) fn on(&self, component: &'static str, host: &str) -> Self {
        Self {
            component,
            host: Some(host.into()),
            ..self.clone()
        }
    }

    /// Records that something went as it should.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.note(about, false, reason, message.into());
    }

    /// Records that something went wrong.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.note(about, true, reason, message.into());
    }

    fn note<K: Resource<DynamicType = ()>>(&self, about: &K, warning: bool, reason: &'static str, message: String) {
        let meta = about.meta();
        let note = Note {
            about: ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::kind(&()).into_owned()),
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path: None,
            },
            warning,
            reason,
            message,
            component: self.component,
            host: self.host.as_deref().map(str::to_owned),
            at: Timestamp::now(),
        };
        if self.notes.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }
}

struct Recent {
    name: String,
    count: i32,
}

/// Who was told how much about, since when.
#[derive(Default)]
struct Bursts {
    by_object: HashMap<String, u32>,
    since: Option<Instant>,
}

impl Bursts {
    fn allows(&mut self, uid: &str) -> bool {
        if self.since.is_none_or(|since| since.elapsed() >= WINDOW) {
            self.by_object.clear();
            self.since = Some(Instant::now());
        }
        let told = self.by_object.entry(uid.to_owned()).or_default();
        *told += 1;
        *told <= BURST
    }
}

async fn write_all(client: Client, mut waiting: mpsc::Receiver<Note>) {
    let mut recent: HashMap<(Option<String>, &'static str, String), Recent> = HashMap::new();
    let mut bursts = Bursts::default();
    while let Some(note) = waiting.recv().await {
        if !bursts.allows(note.about.uid.as_deref().unwrap_or_default()) {
            continue;
        }
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (note.about.uid.clone(), note.reason, note.message.clone());
        if let Some(known) = recent.get_mut(&key) {
            known.count += 1;
            let patch = serde_json::json!({"count": known.count, "lastTimestamp": Time(note.at)});
            if api
                .patch(&known.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .is_ok()
            {
                continue;
            }
        }
        if recent.len() >= REMEMBERED {
            recent.clear();
        }
        let event = event(&note, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => drop(recent.insert(key, Recent { name, count: 1 })),
            Err(error) => tracing::debug!(reason = note.reason, %error, "cannot write event"),
        }
    }
}

fn event(note: &Note, namespace: String) -> Event {
    let about = note.about.name.as_deref().unwrap_or_default();
    // As kube-apiserver's clients do: the name of the object and the time in hexadecimal nanoseconds.
    let name = format!("{about}.{:x}", note.at.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
        source: Some(EventSource {
            component: Some(note.component.into()),
            host: note.host.clone(),
        }),
        reporting_component: Some(note.component.into()),
        reporting_instance: Some(note.host.clone().unwrap_or_default()),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_silenced_after_a_burst_for_a_while() {
        let mut bursts = Bursts::default();
        let written = (0..100).filter(|_| bursts.allows("set")).count();
        assert_eq!(written, 25);
        assert!(bursts.allows("other"));
        tokio::time::advance(WINDOW).await;
        assert!(bursts.allows("set"));
    }
}
