//! Events: decisions and failures in words, on the object they concern.
//!
//! Recording never waits and never fails: events are help, not state. They are written by one task, repeated
//! ones are counted on one Event object, and a burst beyond the rate is dropped.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use apimachinery::Object;
use jiff::Timestamp;
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{Key, Resource, Rest, resources::EVENTS};

const QUEUE: usize = 512;
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;
/// How many distinct events are remembered, to count their repetitions.
const REMEMBERED: usize = 512;
/// A repetition within this time raises the count instead of making a new Event.
const REPEAT_WINDOW: Duration = Duration::from_secs(600);

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something happened as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Resource of the object.
    pub resource: Resource,
    /// The object.
    pub key: Key,
    /// Its uid.
    pub uid: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Event {
    subject: Subject,
    severity: Severity,
    reason: &'static str,
    message: String,
}

/// Where events are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(mpsc::Sender<Event>);

impl Recorder {
    /// Starts the writing task. `component` is the events' source.
    #[must_use]
    pub fn start(rest: Rest, component: &'static str, shutdown: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = write(rest, component, receiver) => {}
            }
        });
        Self(sender)
    }

    /// A recorder whose events go nowhere.
    #[must_use]
    pub fn discard() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Records an event.
    pub fn record(&self, subject: Subject, severity: Severity, reason: &'static str, message: impl Into<String>) {
        // A full queue drops: see the module's duty.
        let _ = self.0.try_send(Event {
            subject,
            severity,
            reason,
            message: message.into(),
        });
    }
}

struct Known {
    name: Key,
    count: u64,
    at: Instant,
}

async fn write(rest: Rest, component: &'static str, mut receiver: mpsc::Receiver<Event>) {
    let mut known: HashMap<Event, Known> = HashMap::new();
    let mut order: VecDeque<Event> = VecDeque::new();
    let (mut tokens, mut filled) = (BURST, Instant::now());
    while let Some(event) = receiver.recv().await {
        tokens = (tokens + filled.elapsed().as_secs_f64() * PER_SECOND).min(BURST);
        filled = Instant::now();
        if tokens < 1.0 && event.severity == Severity::Normal {
            continue;
        }
        tokens = (tokens - 1.0).max(0.0);
        let now = Timestamp::now();
        let repeated = known.get_mut(&event).filter(|k| k.at.elapsed() < REPEAT_WINDOW);
        let result = if let Some(seen) = repeated {
            seen.count += 1;
            seen.at = Instant::now();
            let patch = json!({"count": seen.count, "lastTimestamp": seconds(now)});
            rest.merge(&EVENTS, &seen.name, "", &patch).await
        } else {
            let object = render(&event, component, now);
            let name = Key::of(&object);
            if order.len() >= REMEMBERED
                && let Some(oldest) = order.pop_front()
            {
                known.remove(&oldest);
            }
            if known
                .insert(
                    event.clone(),
                    Known {
                        name: name.clone(),
                        count: 1,
                        at: Instant::now(),
                    },
                )
                .is_none()
            {
                order.push_back(event);
            }
            rest.create(&EVENTS, name.namespace(), &object).await
        };
        if let Err(error) = result {
            tracing::debug!(error = %crate::error::chain(&error), "cannot write an event");
        }
    }
}

fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn render(event: &Event, component: &str, now: Timestamp) -> Object {
    let subject = &event.subject;
    // Events of cluster-scoped objects live in the default namespace.
    let namespace = subject.key.namespace().unwrap_or("default");
    let mut message = event.message.clone();
    if message.len() > 1024 {
        let mut end = 1021;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
    let mut involved = json!({
        "apiVersion": subject.resource.api_version(),
        "kind": subject.resource.kind,
        "name": subject.key.name(),
        "uid": subject.uid,
    });
    if let Some(namespace) = subject.key.namespace() {
        involved["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{:x}{:04x}", subject.key.name(), now.as_nanosecond(), rand::random::<u16>()),
            "namespace": namespace,
        },
        "involvedObject": involved,
        "type": match event.severity { Severity::Normal => "Normal", Severity::Warning => "Warning" },
        "reason": event.reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": seconds(now),
        "lastTimestamp": seconds(now),
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_cluster_scoped_objects_live_in_the_default_namespace() {
        let subject = Subject {
            resource: crate::resources::CLUSTERS,
            key: Key::from("us"),
            uid: "u".to_owned(),
        };
        let event = Event {
            subject,
            severity: Severity::Warning,
            reason: "ClusterLost",
            message: "é".repeat(1000),
        };
        let object = render(&event, "test", Timestamp::UNIX_EPOCH);
        assert_eq!(object["metadata"]["namespace"], "default");
        assert_eq!(object["involvedObject"]["kind"], "Cluster");
        assert!(object["involvedObject"].get("namespace").is_none());
        assert!(
            object["message"]
                .as_str()
                .is_some_and(|m| m.len() <= 1024 && m.ends_with("..."))
        );
    }
}
