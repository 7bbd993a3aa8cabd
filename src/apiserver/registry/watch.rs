//! Watches: the changes of a resource as the events of one client.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use apimachinery::status::Status;
use futures::{Stream, stream};
use storage::{
    Revision,
    cache::{self, Freshness, Start, Watch},
};
use tokio::time::Instant;

use super::{
    Registry, Resource,
    cached::{Item, Objects},
    read::{parse_version, scope},
    selection::Selection,
};
use crate::{errors, request::options::ListOptions};

/// How often bookmarks are sent.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before its end a watch sends a last bookmark.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Changes taken from the cache at a time.
const BATCH: usize = 100;

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
    /// An object.
    Object {
        /// What happened.
        kind: EventKind,
        /// The object as stored, with the revision it is shown at.
        item: Arc<Item>,
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
    changes: Watch<Objects>,
    ready: VecDeque<Event>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    failed: bool,
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
        let scope = scope(&resource, &namespace, &selection);
        let version = parse_version(&options.resource_version)?;
        let initial = options.send_initial_events.unwrap_or(version == 0);
        let cache = self.cache(&resource);
        let start = match (initial, version) {
            (true, 0) if options.resource_version == "0" => Start::Now(Freshness::Any),
            (true, 0) => Start::Now(Freshness::Newest),
            (true, version) => Start::Now(Freshness::AtLeast(Revision(version))),
            (false, 0) => Start::After(
                cache
                    .settle()
                    .await
                    .map_err(|e| errors::of_storage(&resource, "", &e))?,
            ),
            (false, version) => Start::After(Revision(version)),
        };
        let mut changes = cache
            .watch(&scope, start)
            .await
            .map_err(|e| errors::of_storage(&resource, "", &e))?;
        let mut ready = VecDeque::new();
        for item in changes.initial() {
            if selection.matches(&resource, &item.payload) {
                ready.push_back(Event::Object {
                    kind: EventKind::Added,
                    item,
                });
            }
        }
        if initial && options.bookmarks {
            ready.push_back(Event::Bookmark {
                revision: changes.revision().0,
                initial_end: true,
            });
        }
        let now = Instant::now();
        let watching = Watching {
            resource,
            selection,
            changes,
            ready,
            // A watch that ends before its last bookmark would be due has none.
            bookmarks: options.bookmarks && duration > BOOKMARK_BEFORE_END,
            next_bookmark: now + BOOKMARK_PERIOD.min(duration.saturating_sub(BOOKMARK_BEFORE_END)),
            end: now + duration,
            failed: false,
        };
        Ok(stream::unfold(watching, |mut watching| async move {
            let event = watching.next().await?;
            Some((event, watching))
        }))
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.failed {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.end) => return None,
                events = self.changes.next(BATCH) => match events {
                    Ok(events) => {
                        let seen = events.iter().filter_map(|event| self.seen(event));
                        let seen: Vec<Event> = seen.collect();
                        self.ready.extend(seen);
                    }
                    Err(error) => {
                        self.failed = true;
                        return self.broken(&error);
                    }
                },
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.schedule_bookmark();
                    if let Some(revision) = self.changes.bookmark().await {
                        return Some(Event::Bookmark { revision: revision.0, initial_end: false });
                    }
                }
            }
        }
    }

    /// The next bookmark is a period away, but not later than shortly before the end, and then there is none.
    fn schedule_bookmark(&mut self) {
        let now = Instant::now();
        let last = self.end - BOOKMARK_BEFORE_END;
        if now >= last {
            self.bookmarks = false;
        }
        self.next_bookmark = (now + BOOKMARK_PERIOD).min(last);
    }

    fn broken(&self, error: &storage::Error) -> Option<Event> {
        if let storage::Error::Compacted { wanted, oldest } = error {
            let text = format!("too old resource version: {} ({})", wanted.0, oldest.0);
            return Some(Event::Error(Box::new(errors::expired(text))));
        }
        // The client resumes where it was: a clean end says more than an error it cannot act on.
        tracing::warn!(
            error = errors::chain(error),
            resource = self.resource.def.resource,
            "a watch broke off"
        );
        None
    }

    fn selects(&self, item: &Item) -> bool {
        self.selection.matches(&self.resource, &item.payload)
    }

    /// A change in the eyes of the selection.
    fn seen(&self, change: &cache::Event<super::cached::Payload>) -> Option<Event> {
        let is = change.kind != cache::EventKind::Deleted && self.selects(&change.entry);
        let was = change.previous.as_ref().is_some_and(|previous| self.selects(previous));
        let (kind, item) = match (was, is) {
            (false, true) => (EventKind::Added, &change.entry),
            (true, true) => (EventKind::Modified, &change.entry),
            (true, false) => (EventKind::Deleted, change.departed(self.changes.cache().codec())?),
            (false, false) => return None,
        };
        Some(Event::Object {
            kind,
            item: item.clone(),
        })
    }
}
