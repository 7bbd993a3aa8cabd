//! Keeping a store current: WatchList where the server has it, else list and watch; all anew if the server was rewound.

use std::{collections::HashSet, sync::Arc, time::Duration};

use apimachinery::{Object, status::Status};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;

use super::{Key, Scope, Store, store::version_of};
use crate::{Error, Rest, backoff::Backoff};

const PAGE: usize = 500;
/// A watch is renewed after this, so that a server that forgot it is noticed.
const WATCH: Duration = Duration::from_secs(300);
/// Silence beyond the end of the watch that the server promised.
const GRACE: Duration = Duration::from_secs(30);

pub(super) struct Watcher<T, R> {
    pub(super) rest: Rest,
    pub(super) scope: Scope,
    pub(super) store: Arc<Store<T>>,
    pub(super) reduce: R,
    pub(super) backoff: Backoff,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

/// How a watch ended.
enum End {
    /// It may be resumed from this version.
    Resume(String),
    /// The server has forgotten the version: list again.
    Expired,
}

impl<T, R: Fn(Object) -> Option<T>> Watcher<T, R> {
    pub(super) async fn run(self) {
        let mut failures = 0;
        let mut version: Option<String> = None;
        let mut watch_list = true;
        loop {
            let result = match &version {
                Some(from) => self.resume(from, failures > 0).await,
                None if watch_list => self.watch_list().await,
                None => self.list().await.map(End::Resume),
            };
            match result {
                Ok(End::Resume(next)) => {
                    version = Some(next);
                    failures = 0;
                    self.store.set_problem(None);
                }
                Ok(End::Expired) => version = None,
                Err(error) if error.is_expired() => version = None,
                // The server does not know sendInitialEvents.
                Err(Error::Status(status))
                    if version.is_none() && watch_list && matches!(status.code, 400 | 403 | 422) =>
                {
                    watch_list = false;
                }
                Err(error) => {
                    failures += 1;
                    let wait = self.backoff.jittered(failures);
                    let wait = error.retry_after().map_or(wait, |least| least.max(wait));
                    let text = crate::error::chain(&error);
                    if failures == 1 {
                        tracing::debug!(server = self.rest.name(), resource = self.scope.resource.plural, error = %text, "watch interrupted");
                    }
                    self.store.set_problem(Some(text));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn take(&self, object: Object) -> Key {
        let key = Key::of(&object);
        let version = version_of(&object);
        match (self.reduce)(object) {
            Some(value) => self.store.put(&key, version, value),
            None => self.store.remove(&key, version),
        }
        self.store.advance(version);
        key
    }

    /// Goes on with a watch. A server that was away may have lost what it had, and count versions anew: it would not
    /// tell of anything before it is as far again as it was.
    async fn resume(&self, from: &str, interrupted: bool) -> Result<End, Error> {
        if interrupted {
            let path = self.scope.path("limit=1");
            let bytes = self.rest.raw(http::Method::GET, &path, "", Vec::new()).await?;
            let list: Object = serde_json::from_slice(&bytes).map_err(|source| Error::Decode {
                method: http::Method::GET,
                path,
                source,
            })?;
            if self.is_rewound(version_of(&list)) {
                return Ok(End::Expired);
            }
        }
        self.watch_from(from).await
    }

    /// Whether the newest version of the server is older than what it told before; the store then takes it as new.
    fn is_rewound(&self, newest: u64) -> bool {
        let rewound = newest > 0 && newest < self.store.seen();
        if rewound {
            tracing::warn!(
                server = self.rest.name(),
                resource = self.scope.resource.plural,
                newest,
                seen = self.store.seen(),
                "the server has lost what it had, or was restored: listing again"
            );
            self.store.restart();
        }
        rewound
    }

    async fn list(&self) -> Result<String, Error> {
        let mut listed = HashSet::new();
        let mut next = String::new();
        loop {
            let mut query = format!("limit={PAGE}");
            if !next.is_empty() {
                query.push_str("&continue=");
                query.push_str(&crate::rest::escape(&next));
            }
            let path = self.scope.path(&query);
            let bytes = self.rest.raw(http::Method::GET, &path, "", Vec::new()).await?;
            let mut page: Object = serde_json::from_slice(&bytes).map_err(|source| Error::Decode {
                method: http::Method::GET,
                path: path.clone(),
                source,
            })?;
            drop(bytes);
            if next.is_empty() {
                self.is_rewound(version_of(&page));
            }
            if let Object::Array(items) = page["items"].take() {
                for item in items {
                    listed.insert(self.take(item));
                }
            }
            next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                let version = page["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                self.store.retain(&listed, version.parse().unwrap_or(0));
                self.store.set_synced();
                return Ok(version);
            }
        }
    }

    async fn watch_list(&self) -> Result<End, Error> {
        let query = format!(
            "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds={}",
            WATCH.as_secs()
        );
        self.follow(&self.scope.path(&query), String::new(), Some(HashSet::new()))
            .await
    }

    async fn watch_from(&self, version: &str) -> Result<End, Error> {
        let query = format!(
            "watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds={}",
            WATCH.as_secs()
        );
        self.follow(&self.scope.path(&query), version.to_owned(), None).await
    }

    /// Follows one watch to its end. While `initial` is there, what it lists is collected in it.
    async fn follow(&self, path: &str, from: String, initial: Option<HashSet<Key>>) -> Result<End, Error> {
        let mut lines = Lines {
            body: self.rest.watch(path).await?,
            buffer: BytesMut::new(),
            path,
        };
        self.store.set_problem(None);
        let (mut version, mut initial) = (from, initial);
        let deadline = tokio::time::Instant::now() + WATCH + GRACE;
        loop {
            let line = match tokio::time::timeout_at(deadline, lines.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Err(error)) if initial.is_some() => return Err(error),
                // An interrupted watch is resumed; if the server is gone, resuming says so.
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            };
            if line.is_empty() {
                continue;
            }
            let event: Event = serde_json::from_slice(&line).map_err(|source| Error::Decode {
                method: http::Method::GET,
                path: path.to_owned(),
                source,
            })?;
            match event.kind.as_str() {
                "ERROR" => {
                    let status: Status = serde_json::from_value(event.object)
                        .unwrap_or_else(|_| Status::failure(500, "InternalError", "watch error without a status"));
                    if status.code == 410 || status.reason == "Expired" || status.reason == "Gone" {
                        return Ok(End::Expired);
                    }
                    return Err(Error::Status(Box::new(status)));
                }
                "BOOKMARK" => {
                    if self.is_rewound(version_of(&event.object)) {
                        return Ok(End::Expired);
                    }
                    let meta = &event.object["metadata"];
                    version = meta["resourceVersion"].as_str().unwrap_or_default().to_owned();
                    if meta["annotations"]["k8s.io/initial-events-end"] == "true"
                        && let Some(listed) = initial.take()
                    {
                        self.store.retain(&listed, version.parse().unwrap_or(0));
                        self.store.set_synced();
                    }
                    self.store.advance(version.parse().unwrap_or(0));
                }
                kind => {
                    let next = event.object["metadata"]["resourceVersion"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    if kind == "DELETED" {
                        let key = Key::of(&event.object);
                        self.store.advance(version_of(&event.object));
                        self.store.remove(&key, version_of(&event.object));
                    } else {
                        let key = self.take(event.object);
                        if let Some(listed) = &mut initial {
                            listed.insert(key);
                        }
                    }
                    version = next;
                }
            }
        }
        // Initial events that did not end cannot be resumed.
        if initial.is_some() || version.is_empty() {
            Ok(End::Expired)
        } else {
            Ok(End::Resume(version))
        }
    }
}

struct Lines<'a> {
    body: Body,
    buffer: BytesMut,
    path: &'a str,
}

impl Lines<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&b| b == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1).freeze();
                line.truncate(searched + at);
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(source)) => {
                    return Err(Error::Transport {
                        method: http::Method::GET,
                        path: self.path.to_owned(),
                        source: source.into(),
                    });
                }
            }
        }
    }
}
