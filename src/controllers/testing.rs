//! A fake API server for tests: keeps objects, serves watches, records every write, and fails on demand.
//!
//! Tests assert the exact list of writes, so a write too many fails them. It runs without sockets, so that paused time
//! decides when everything has settled.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use apimachinery::Object;
use bytes::Bytes;
use client::Rest;
use futures::Stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Map, json};
use tokio::sync::mpsc;

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server answers with this status.
    Status(u16),
    /// The connection is refused.
    Refused,
    /// There never is an answer.
    Silent,
}

struct Watcher {
    collection: String,
    selector: Option<(String, Option<String>)>,
    sender: mpsc::UnboundedSender<Bytes>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// By path of the object.
    objects: BTreeMap<String, Object>,
    watchers: Vec<Watcher>,
    writes: Vec<String>,
    trouble: Option<(&'static str, Trouble)>,
}

/// A fake API server.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

struct Events(mpsc::UnboundedReceiver<Bytes>);

impl Stream for Events {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_recv(cx)
            .map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn event(kind: &str, object: &Object) -> Bytes {
    let mut text = json!({"type": kind, "object": object}).to_string();
    text.push('\n');
    text.into()
}

fn matches(selector: Option<&(String, Option<String>)>, object: &Object) -> bool {
    let Some((key, wanted)) = selector else { return true };
    match (apimachinery::meta::label(object, key), wanted) {
        (Some(value), Some(wanted)) => value == wanted,
        (found, None) => found.is_some(),
        (None, Some(_)) => false,
    }
}

fn fields(value: &Object) -> Object {
    match value.as_object() {
        Some(map) => Object::Object(map.iter().map(|(k, v)| (format!("f:{k}"), fields(v))).collect()),
        None => json!({}),
    }
}

fn status(code: u16, reason: &str) -> (u16, Object) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (code, body)
}

fn merge(target: &mut Object, patch: &Object) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(map) = target.as_object_mut() {
                map.shift_remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

impl Fake {
    /// An empty server.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    /// A client of it.
    pub(crate) fn rest(&self, name: &str) -> Rest {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.serve(request).await }
        });
        Rest::new(name, kube::Client::new(service, "default"))
    }

    /// Puts an object there, as some user would.
    pub(crate) fn put(&self, path: &str, object: Object) {
        self.0.lock().store(path, object);
    }

    /// Changes an object, as some user would.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Object)) {
        let mut state = self.0.lock();
        let mut object = state.objects.get(path).cloned().unwrap_or_default();
        change(&mut object);
        state.store(path, object);
    }

    /// Deletes an object, as some user would: it goes, or gets its deletionTimestamp.
    pub(crate) fn delete(&self, path: &str, finalizer: Option<&str>) {
        let mut state = self.0.lock();
        if let Some(object) = state.objects.get_mut(path)
            && let (Some(finalizer), Some(list)) = (finalizer, object["metadata"]["finalizers"].as_array_mut())
        {
            list.push(json!(finalizer));
        }
        state.delete(path);
    }

    /// An object.
    pub(crate) fn get(&self, path: &str) -> Option<Object> {
        self.0.lock().objects.get(path).cloned()
    }

    /// What was written since the last call, as `METHOD path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().writes)
    }

    /// From now on requests whose path contains `part` meet trouble; watches that are open stay open.
    pub(crate) fn trouble(&self, trouble: Option<(&'static str, Trouble)>) {
        self.0.lock().trouble = trouble;
    }

    /// Loses everything it had, and begins to count anew.
    pub(crate) fn lose_everything(&self) {
        let mut state = self.0.lock();
        state.objects.clear();
        state.watchers.clear();
        state.revision = 1;
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<StreamBody<Events>>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let trouble = self
            .0
            .lock()
            .trouble
            .filter(|(part, _)| parts.uri.path().contains(part));
        match trouble {
            Some((_, Trouble::Refused)) => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
            Some((_, Trouble::Silent)) => std::future::pending().await,
            Some((_, Trouble::Status(code))) => return Ok(answer(status(code, "Trouble"))),
            None => {}
        }
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.replace("%2F", "/").replace("%3D", "=")))
            .collect();
        if query.contains_key("watch") {
            return Ok(self.0.lock().watch(&path, &query));
        }
        let content_type = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if parts.method == Method::GET && query.contains_key("limit") {
            return Ok(answer(self.0.lock().list(&path)));
        }
        let body: Object = serde_json::from_slice(&body).unwrap_or_default();
        Ok(answer(self.0.lock().handle(&parts.method, &path, content_type, body)))
    }
}

fn answer((code, body): (u16, Object)) -> Response<StreamBody<Events>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    sender.send(Bytes::from(text)).expect("receiver is here");
    let mut response = Response::new(StreamBody::new(Events(receiver)));
    *response.status_mut() = StatusCode::from_u16(code).expect("valid");
    response
}

impl State {
    fn store(&mut self, path: &str, mut object: Object) -> Object {
        self.revision += 1;
        let old = self.objects.get(path).cloned();
        let parts: Vec<&str> = path.split('/').collect();
        let meta = &mut object["metadata"];
        meta["name"] = json!(parts.last());
        if let Some(at) = parts
            .iter()
            .position(|p| *p == "namespaces")
            .filter(|at| at + 3 < parts.len())
        {
            meta["namespace"] = json!(parts[at + 1]);
        }
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{}", self.revision));
        }
        let unchanged = old.as_ref().is_some_and(|old| {
            let mut old = old.clone();
            let mut new = object.clone();
            for o in [&mut old, &mut new] {
                o["metadata"]["resourceVersion"] = Object::Null;
            }
            old == new
        });
        if let Some(old) = old.filter(|_| unchanged) {
            return old;
        }
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.tell(
            if self.objects.contains_key(path) {
                "MODIFIED"
            } else {
                "ADDED"
            },
            path,
            &object,
        );
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn delete(&mut self, path: &str) {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return;
        };
        if object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty())
        {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.store(path, object);
            return;
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.remove(path);
        self.tell("DELETED", path, &object);
    }

    fn tell(&self, kind: &str, path: &str, object: &Object) {
        for watcher in &self.watchers {
            if is_in(path, &watcher.collection) {
                let old = self
                    .objects
                    .get(path)
                    .is_some_and(|o| matches(watcher.selector.as_ref(), o));
                let new = matches(watcher.selector.as_ref(), object);
                let kind = match (old, new) {
                    (true, false) => "DELETED",
                    (false, true) if kind == "MODIFIED" => "ADDED",
                    (_, true) => kind,
                    (false, false) => continue,
                };
                // A watcher that has gone does not mind.
                let _ = watcher.sender.send(event(kind, object));
            }
        }
    }

    fn watch(&mut self, path: &str, query: &BTreeMap<String, String>) -> Response<StreamBody<Events>> {
        let selector = query.get("labelSelector").map(|text| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.clone(), None),
        });
        let (sender, receiver) = mpsc::unbounded_channel();
        if query.contains_key("sendInitialEvents") {
            let all = self
                .objects
                .iter()
                .filter(|(p, o)| is_in(p, path) && matches(selector.as_ref(), o));
            for (_, object) in all {
                sender.send(event("ADDED", object)).expect("receiver is here");
            }
            let bookmark = json!({"metadata": {"resourceVersion": self.revision.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}}});
            sender.send(event("BOOKMARK", &bookmark)).expect("receiver is here");
        }
        self.watchers.push(Watcher {
            collection: path.to_owned(),
            selector,
            sender,
        });
        Response::new(StreamBody::new(Events(receiver)))
    }

    fn list(&self, path: &str) -> (u16, Object) {
        let items = self.objects.iter().filter(|(p, _)| is_in(p, path));
        let items: Vec<&Object> = items.map(|(_, object)| object).collect();
        let body = json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items});
        (200, body)
    }

    fn handle(&mut self, method: &Method, path: &str, content_type: &str, body: Object) -> (u16, Object) {
        if path == "/healthz" {
            return (200, json!("ok"));
        }
        if path == "/version" {
            return (200, json!({"gitVersion": "v1.36.0"}));
        }
        if *method == Method::GET {
            if let Some(object) = self.objects.get(path) {
                return (200, object.clone());
            }
            return status(404, "NotFound");
        }
        if path.contains("/events") {
            return (201, json!({}));
        }
        self.writes.push(format!("{method} {path}"));
        let (object_path, subresource) = match path.strip_suffix("/status") {
            Some(object) => (object, true),
            None => (path, false),
        };
        match *method {
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                (201, self.store(&path, body))
            }
            Method::DELETE => {
                self.delete(object_path);
                (200, json!({}))
            }
            Method::PATCH if content_type.contains("apply") => (200, self.apply(object_path, body)),
            Method::PATCH => {
                let Some(mut object) = self.objects.get(object_path).cloned() else {
                    return status(404, "NotFound");
                };
                let version = &body["metadata"]["resourceVersion"];
                if version.is_string() && *version != object["metadata"]["resourceVersion"] {
                    return status(409, "Conflict");
                }
                let mut patch = body;
                if subresource {
                    patch = json!({"status": patch["status"]});
                }
                merge(&mut object, &patch);
                let deleting = object["metadata"]["deletionTimestamp"].is_string();
                if deleting && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
                    self.objects.insert(object_path.to_owned(), object.clone());
                    self.delete(object_path);
                    return (200, object);
                }
                (200, self.store(object_path, object))
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }

    fn apply(&mut self, path: &str, mut config: Object) -> Object {
        let mut object = self
            .objects
            .get(path)
            .cloned()
            .unwrap_or_else(|| json!({"metadata": {}}));
        let old: Vec<Object> = object["metadata"]["managedFields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut owned = fields(&config);
        for key in ["f:apiVersion", "f:kind"] {
            owned
                .as_object_mut()
                .map(|map: &mut Map<String, Object>| map.shift_remove(key));
        }
        let mut managed: Vec<Object> = old.into_iter().filter(|e| e["manager"] != "federation").collect();
        managed.push(
            json!({"manager": "federation", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": owned}),
        );
        config["metadata"]["managedFields"] = json!(managed);
        merge(&mut object, &config);
        let wished = self.objects.get(path).is_none_or(|o| o["spec"] != object["spec"]);
        if wished {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        self.store(path, object)
    }
}

fn is_in(path: &str, collection: &str) -> bool {
    // Collections are watched in all namespaces: /api/v1/configmaps holds /api/v1/namespaces/a/configmaps/c.
    let (Some((base, plural)), Some((parent, _))) = (collection.rsplit_once('/'), path.rsplit_once('/')) else {
        return false;
    };
    parent == collection
        || (parent.starts_with(&format!("{base}/namespaces/"))
            && parent.rsplit('/').next() == Some(plural)
            && parent.split('/').count() == base.split('/').count() + 3)
}
