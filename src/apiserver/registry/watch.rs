//! Watches: the changes of a resource as the events of one client.

use std::{sync::Arc, time::Duration};

use apimachinery::status::Status;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use storage::{Change, KeyValue, Revision, WatchItem, WatchStream};

use super::{Registry, Resource, facts::Selection, read::parse_version};
use crate::{errors, request::options::ListOptions};

/// How often bookmarks are sent.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before its end a watch sends a last bookmark.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// What happened to an object, in the eyes of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is there, or came into the selection.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or left the selection.
    Deleted,
}

impl EventKind {
    /// The event's `type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub enum Event {
    /// An object as stored, with the revision it is shown at.
    Object {
        /// What happened.
        kind: EventKind,
        /// The object's bytes as stored.
        value: Bytes,
        /// Revision of the change.
        revision: u64,
    },
    /// Everything up to this revision has been sent.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether it ends the initial events.
        initial_end: bool,
    },
    /// The watch failed; nothing follows.
    Error(Box<Status>),
}

/// A watch to come.
pub struct WatchRequest {
    /// What is watched.
    pub resource: Arc<Resource>,
    /// Empty watches all namespaces.
    pub namespace: String,
    /// What is reported.
    pub selection: Selection,
    /// How.
    pub options: ListOptions,
    /// How long.
    pub duration: Duration,
}

struct Watching {
    resource: Arc<Resource>,
    selection: Selection,
    changes: WatchStream,
    /// Changes up to this revision are not reported (a start in the future).
    after: u64,
    seen: u64,
    bookmarks: bool,
    next_bookmark: tokio::time::Instant,
    end: tokio::time::Instant,
    last_bookmark_sent: bool,
}

impl Registry {
    /// Starts a watch. The stream ends when its time is over or after an error event.
    ///
    /// # Errors
    /// What keeps it from starting at all.
    pub async fn watch(&self, request: WatchRequest) -> Result<impl Stream<Item = Event> + Send + use<>, Status> {
        let WatchRequest {
            resource,
            namespace,
            selection,
            options,
            duration,
        } = request;
        let scope = match (selection.name(), resource.namespaced(), namespace.is_empty()) {
            (Some(name), false, _) | (Some(name), true, false) => resource.key(&namespace, name),
            _ => resource.scope(&namespace),
        };
        let version = parse_version(&options.resource_version)?;
        let initial = options.send_initial_events.unwrap_or(version == 0);
        let mut first = Vec::new();
        let from = if initial {
            if version > 0 {
                self.wait_for(version).await?;
            }
            let page = self.storage.list(&scope, storage::ListOptions::default()).await;
            let page = page.map_err(|e| errors::of_storage(&resource, "", &e))?;
            let matching = page
                .items
                .into_iter()
                .filter(|item| selection.matches(&resource, &item.value));
            first.extend(matching.map(|item| Event::Object {
                kind: EventKind::Added,
                revision: item.modified.0,
                value: item.value,
            }));
            if options.bookmarks {
                first.push(Event::Bookmark {
                    revision: page.revision.0,
                    initial_end: true,
                });
            }
            page.revision.0
        } else if version == 0 {
            self.storage.revision().await.map_err(errors::internal)?.0
        } else {
            version
        };
        let changes = match self.open(&scope, from).await {
            Ok(changes) => changes,
            Err(storage::Error::Compacted { wanted, oldest }) => {
                let text = format!("too old resource version: {} ({})", wanted.0, oldest.0);
                let gone = Event::Error(Box::new(errors::expired(text)));
                return Ok(stream::iter(vec![gone]).left_stream());
            }
            Err(error) => return Err(errors::of_storage(&resource, "", &error)),
        };
        let now = tokio::time::Instant::now();
        let watching = Watching {
            resource,
            selection,
            changes,
            after: from,
            seen: from,
            bookmarks: options.bookmarks,
            next_bookmark: now + BOOKMARK_PERIOD,
            end: now + duration,
            last_bookmark_sent: false,
        };
        let live = stream::unfold(Some(watching), |state| async move {
            let mut watching = state?;
            let event = watching.next().await?;
            let ended = matches!(event, Event::Error(_));
            Some((event, (!ended).then_some(watching)))
        });
        Ok(stream::iter(first).chain(live).right_stream())
    }

    /// Opens the store's watch; a start in the future begins now and is filtered.
    async fn open(&self, scope: &str, from: u64) -> Result<WatchStream, storage::Error> {
        match self.storage.watch(scope, Revision(from)).await {
            Err(storage::Error::Future { current, .. }) => self.storage.watch(scope, current).await,
            other => other,
        }
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let last = self.end - BOOKMARK_BEFORE_END;
            let wake = if self.bookmarks && !self.last_bookmark_sent {
                last.min(self.next_bookmark)
            } else {
                self.end
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.end) => return None,
                item = self.changes.next() => match item {
                    None => return None,
                    Some(Err(error)) => return self.broken(&error),
                    Some(Ok(WatchItem::Progress(revision))) => self.seen = self.seen.max(revision.0),
                    Some(Ok(WatchItem::Change(change))) => {
                        if let Some(event) = self.event_of(change) {
                            return Some(event);
                        }
                    }
                },
                () = tokio::time::sleep_until(wake), if self.bookmarks && !self.last_bookmark_sent => {
                    let now = tokio::time::Instant::now();
                    self.next_bookmark = now + BOOKMARK_PERIOD;
                    self.last_bookmark_sent = now >= last;
                    return Some(Event::Bookmark { revision: self.seen, initial_end: false });
                }
            }
        }
    }

    fn broken(&self, error: &storage::Error) -> Option<Event> {
        match error {
            storage::Error::Compacted { wanted, oldest } => {
                let text = format!("too old resource version: {} ({})", wanted.0, oldest.0);
                Some(Event::Error(Box::new(errors::expired(text))))
            }
            // The client resumes where it was: a clean end says more than an error it cannot act on.
            error => {
                tracing::warn!(
                    error = errors::chain(error),
                    resource = self.resource.def.resource,
                    "watch broke off"
                );
                None
            }
        }
    }

    fn selects(&self, item: &KeyValue) -> bool {
        self.selection.matches(&self.resource, &item.value)
    }

    fn event_of(&mut self, change: Change) -> Option<Event> {
        let revision = match &change {
            Change::Put { current, .. } => current.modified.0,
            Change::Delete { revision, .. } => revision.0,
        };
        self.seen = self.seen.max(revision);
        if revision <= self.after {
            return None;
        }
        let (kind, value) = match change {
            Change::Put { current, previous } => {
                let was = previous.as_ref().is_some_and(|p| self.selects(p));
                match (self.selects(&current), was, previous) {
                    (true, true, _) => (EventKind::Modified, current.value),
                    (true, false, _) => (EventKind::Added, current.value),
                    (false, true, Some(previous)) => (EventKind::Deleted, previous.value),
                    (false, ..) => return None,
                }
            }
            Change::Delete { previous, .. } => {
                if !self.selects(&previous) {
                    return None;
                }
                (EventKind::Deleted, previous.value)
            }
        };
        Some(Event::Object { kind, value, revision })
    }
}
