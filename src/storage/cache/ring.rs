//! The ring of recent changes of a cache.

use std::{collections::VecDeque, sync::Arc};

use super::Event;

/// At most this many changes are kept…
const MOST_EVENTS: usize = 8192;
/// …and those above this many only while they hold fewer than [`MOST_BYTES`].
const FEWEST_EVENTS: usize = 128;
/// Bytes of payloads beyond which old changes go. With some forty caches in a server of which few are busy,
/// the rings together stay at a few megabytes.
const MOST_BYTES: usize = 2 << 20;

/// Changes in ascending order of revision, all those after [`Ring::start`].
pub(super) struct Ring<P> {
    events: VecDeque<(usize, Arc<Event<P>>)>,
    bytes: usize,
    start: u64,
}

impl<P> Ring<P> {
    /// An empty ring that will hold what comes after `start`.
    pub(super) fn new(start: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            start,
        }
    }

    /// Adds the newest change, whose payload weighs this many bytes.
    pub(super) fn push(&mut self, weight: usize, event: Arc<Event<P>>) {
        self.bytes += weight;
        self.events.push_back((weight, event));
        while self.events.len() > MOST_EVENTS || (self.events.len() > FEWEST_EVENTS && self.bytes > MOST_BYTES) {
            let Some((weight, oldest)) = self.events.pop_front() else {
                break;
            };
            self.bytes -= weight;
            self.start = oldest.revision.0;
        }
    }

    /// Whether every change after `revision` is here.
    pub(super) fn reaches_back_to(&self, revision: u64) -> bool {
        revision >= self.start
    }

    /// The changes after a revision.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event<P>>> {
        let from = self.events.partition_point(|(_, event)| event.revision.0 <= revision);
        self.events.range(from..).map(|(_, event)| event)
    }
}
