//! Watches of etcd: one gRPC stream each, so that a progress mark speaks for that watch alone.

use std::collections::VecDeque;

use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    client::{self, Client},
    header, key_value, range_end, revision, signed,
    wire::{self, EventType, WatchCreate, WatchProgress, WatchRequest, WatchRequestKind, WatchResponse},
};
use crate::{Change, Error, Revision, WatchItem, WatchStream};

/// Requests of one stream that may wait to be sent: its creation and a few for progress.
const QUEUE: usize = 8;

struct Open {
    prefix: Box<str>,
    requests: mpsc::WeakSender<WatchRequest>,
}

/// The open watches, to ask them for progress.
#[derive(Default)]
pub(super) struct Watches {
    open: Mutex<Vec<Open>>,
}

impl Watches {
    pub(super) async fn open(&self, client: &Client, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let create = WatchCreate {
            key: prefix.into(),
            range_end: range_end(prefix),
            start_revision: signed(Revision(after.0 + 1)),
            progress_notify: true,
            prev_kv: true,
        };
        // The queue is empty, so there is room.
        let _ = requests.try_send(WatchRequest {
            request: Some(WatchRequestKind::Create(create)),
        });
        let responses = client.watch(ReceiverStream::new(queue)).await;
        let responses = responses.map_err(|status| client::error("watch", after, status))?;
        {
            let mut open = self.open.lock();
            open.retain(|watch| watch.requests.strong_count() > 0);
            open.push(Open {
                prefix: prefix.into(),
                requests: requests.downgrade(),
            });
        }
        let watch = Watch {
            responses,
            _requests: requests,
            after,
            ready: VecDeque::new(),
            over: false,
        };
        Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
            let item = watch.next().await?;
            watch.over = item.is_err();
            Some((item, watch))
        })))
    }

    pub(super) fn request_progress(&self, prefix: &str) {
        let open = self.open.lock();
        for watch in open.iter().filter(|watch| *watch.prefix == *prefix) {
            if let Some(requests) = watch.requests.upgrade() {
                // A full queue has such a request in it already.
                let _ = requests.try_send(WatchRequest {
                    request: Some(WatchRequestKind::Progress(WatchProgress {})),
                });
            }
        }
    }
}

struct Watch {
    responses: Streaming<WatchResponse>,
    /// Closing it would end the stream.
    _requests: mpsc::Sender<WatchRequest>,
    after: Revision,
    ready: VecDeque<WatchItem>,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.over {
                return None;
            }
            match self.responses.next().await? {
                Ok(response) => {
                    if let Err(error) = self.take(response) {
                        return Some(Err(error));
                    }
                }
                Err(status) => return Some(Err(client::error("watch", self.after, status))),
            }
        }
    }

    fn take(&mut self, response: WatchResponse) -> Result<(), Error> {
        if response.compact_revision > 0 {
            return Err(Error::Compacted {
                wanted: self.after,
                oldest: revision(response.compact_revision),
            });
        }
        if response.canceled {
            return Err(Error::backend("watch in etcd", response.cancel_reason));
        }
        // The answer to the creation says how far etcd is, not how far this watch is.
        if response.events.is_empty() && !response.created {
            let progress = header(response.header).max(self.after);
            self.ready.push_back(WatchItem::Progress(progress));
        }
        for event in response.events {
            self.ready.extend(change(event).map(WatchItem::Change));
        }
        Ok(())
    }
}

fn change(event: wire::Event) -> Option<Change> {
    let deleted = event.kind == EventType::Delete as i32;
    let current = key_value(event.kv?);
    let previous = event.prev_kv.map(key_value);
    if deleted {
        return Some(Change::Delete {
            revision: current.modified,
            previous: previous?,
        });
    }
    Some(Change::Put { current, previous })
}
