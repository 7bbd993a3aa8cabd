//! The thread that writes the log.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use parking_lot::{Condvar, Mutex};

use super::{
    checkpoint,
    frame::Builder,
    segment::{AppendError, FileId, Segment},
};
use crate::{
    engine::{Acknowledge, Cause, Shared},
    index::{Location, Version},
};

/// A frame is closed at this size; one larger value still fits.
const FRAME_BYTES: usize = 8 << 20;
/// Newest values kept in memory, for watches.
const HOT_BYTES: usize = 1 << 20;
/// How often a log that failed is tried again when nobody writes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A staged write that waits to be made durable.
pub(super) struct Queued {
    pub(super) key: Arc<str>,
    pub(super) version: Version,
    pub(super) acknowledge: Acknowledge,
}

impl Queued {
    fn value(&self) -> &[u8] {
        self.version.value.as_deref().unwrap_or_default()
    }
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Queued>,
    failure: Option<Cause>,
    stopped: bool,
}

/// Staged writes in order of their revisions.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    more: Condvar,
}

/// What the thread should do next.
enum Work {
    Write(Vec<Queued>),
    Probe,
    Stop,
}

impl Queue {
    pub(super) fn push(&self, queued: Queued) {
        self.state.lock().waiting.push_back(queued);
        self.more.notify_one();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.more.notify_one();
    }

    /// Why the last write failed; `None` if it did not.
    pub(super) fn failure(&self) -> Option<Cause> {
        self.state.lock().failure.clone()
    }

    /// Waits for writes, and takes as many as fit into a frame.
    fn next(&self) -> Work {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.stopped {
                return Work::Stop;
            }
            if state.failure.is_none() {
                self.more.wait(&mut state);
            } else if self.more.wait_for(&mut state, PROBE_INTERVAL).timed_out() && state.waiting.is_empty() {
                return Work::Probe;
            }
        }
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            bytes += queued.key.len() + queued.value().len();
            bytes <= FRAME_BYTES
        };
        let count = state.waiting.iter().take_while(fits).count().max(1);
        Work::Write(state.waiting.drain(..count).collect())
    }

    fn take_all(&self) -> VecDeque<Queued> {
        std::mem::take(&mut self.state.lock().waiting)
    }

    fn set_failure(&self, failure: Option<Cause>) {
        self.state.lock().failure = failure;
    }
}

/// Owns the log file.
pub(super) struct Writer {
    directory: PathBuf,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    segment: Segment,
    /// Bytes of all files of the directory.
    bytes: u64,
    checkpoint_bytes: u64,
    checkpoint: Option<JoinHandle<Option<u64>>>,
    hot: VecDeque<(Arc<str>, u64, usize)>,
    hot_bytes: usize,
    /// The file may hold unsynced bytes that must not be built upon.
    abandon: bool,
}

impl Writer {
    pub(super) fn new(
        directory: PathBuf,
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        segment: Segment,
        bytes: u64,
        checkpoint_bytes: u64,
    ) -> Self {
        Self {
            directory,
            shared,
            queue,
            segment,
            bytes,
            checkpoint_bytes,
            checkpoint: None,
            hot: VecDeque::new(),
            hot_bytes: 0,
            abandon: false,
        }
    }

    /// Writes until the queue is stopped and empty.
    pub(super) fn run(mut self) {
        loop {
            match self.queue.next() {
                Work::Write(batch) => self.write(batch),
                Work::Probe => self.probe(),
                Work::Stop => break,
            }
            self.maintain();
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            let _ = checkpoint.join();
        }
    }

    fn write(&mut self, batch: Vec<Queued>) {
        let mut frame = Builder::new();
        let offsets: Vec<usize> = batch
            .iter()
            .map(|queued| frame.record(&queued.key, &queued.version, queued.value()))
            .collect();
        match self.append(&frame.finish(&self.segment.header)) {
            Ok(start) => self.commit(batch, start, &offsets),
            Err(cause) => self.fail(batch, &cause),
        }
    }

    fn append(&mut self, frame: &[u8]) -> Result<u64, Cause> {
        debug_assert!(!self.abandon || self.segment.len > 0, "a segment is always open");
        match self.segment.append(frame) {
            Ok(start) => {
                self.bytes += frame.len() as u64;
                if self.queue.failure().is_some() {
                    tracing::info!("the log can be written again");
                    self.queue.set_failure(None);
                }
                Ok(start)
            }
            Err(AppendError::Write(error)) => Err(Arc::new(error)),
            Err(AppendError::Sync(error)) => {
                self.abandon = true;
                Err(Arc::new(error))
            }
        }
    }

    fn commit(&mut self, batch: Vec<Queued>, start: u64, offsets: &[usize]) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return;
        };
        let (first, last) = (first.version.revision, last.version.revision);
        let file = self.segment.id.as_u32();
        let placed = |revision: u64| {
            let at = usize::try_from(revision.checked_sub(first)?).ok()?;
            let len = batch.get(at)?.version.location.len;
            Some(Location {
                file,
                len,
                offset: start + *offsets.get(at)? as u64,
            })
        };
        let cold = self.cool(&batch);
        self.shared.commit(last, placed, |state| {
            for (key, revision) in cold {
                state.index.evict(&key, revision);
            }
        });
        for queued in batch {
            // Nobody listens if the caller has gone away; the write stands.
            let _ = queued.acknowledge.send(Ok(()));
        }
    }

    /// Counts the batch's values as hot and returns those that are not any more.
    fn cool(&mut self, batch: &[Queued]) -> Vec<(Arc<str>, u64)> {
        for queued in batch {
            let size = queued.value().len();
            self.hot_bytes += size;
            self.hot
                .push_back((Arc::clone(&queued.key), queued.version.revision, size));
        }
        let mut cold = Vec::new();
        // The batch itself is not on disk as far as the index knows, so it stays until the next one.
        while self.hot_bytes > HOT_BYTES && self.hot.len() > batch.len() {
            let Some((key, revision, size)) = self.hot.pop_front() else {
                break;
            };
            self.hot_bytes -= size;
            cold.push((key, revision));
        }
        cold
    }

    /// Fails these writes and every one queued behind them: their conditions were judged on what is now undone.
    fn fail(&mut self, batch: Vec<Queued>, cause: &Cause) {
        tracing::error!(error = &**cause as &dyn std::error::Error, "cannot write the log");
        self.queue.set_failure(Some(Arc::clone(cause)));
        let behind = self.shared.roll_back(|| self.queue.take_all());
        for queued in batch.into_iter().chain(behind) {
            let _ = queued.acknowledge.send(Err(Arc::clone(cause)));
        }
        self.replace_abandoned();
    }

    fn probe(&mut self) {
        if self.abandon {
            self.replace_abandoned();
        }
        if !self.abandon {
            let frame = Builder::new().finish(&self.segment.header);
            if let Err(cause) = self.append(&frame) {
                self.queue.set_failure(Some(cause));
            }
        }
    }

    /// Starts a new file after a failed sync. Until that works, every write fails.
    fn replace_abandoned(&mut self) {
        if self.abandon {
            match self.rotate() {
                Ok(()) => self.abandon = false,
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "cannot start a new log"),
            }
        }
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let (committed, compacted) = self
            .shared
            .read(|state| (state.index.committed(), state.index.compacted()));
        let segment = Segment::create(&self.directory, self.segment.id.number + 1, committed, compacted)?;
        self.bytes += segment.len;
        self.segment = segment;
        let (id, file) = (self.segment.id.as_u32(), Arc::clone(&self.segment.file));
        self.shared.change(|state| state.files.insert(id, file));
        Ok(())
    }

    /// Starts a checkpoint when most of the log is outdated, and takes note of a finished one.
    fn maintain(&mut self) {
        if let Some(running) = self.checkpoint.take_if(|running| running.is_finished())
            && let Ok(Some(freed)) = running.join()
        {
            self.bytes = self.bytes.saturating_sub(freed);
        }
        let retained = self.shared.read(|state| state.index.retained_bytes());
        if self.checkpoint.is_some() || self.bytes < self.checkpoint_bytes.max(2 * retained) {
            return;
        }
        let covers = FileId::checkpoint(self.segment.id.number);
        if let Err(error) = self.rotate() {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot start a checkpoint");
            return;
        }
        let job = checkpoint::Job {
            directory: self.directory.clone(),
            shared: Arc::clone(&self.shared),
            id: covers,
            base: self.segment.header.base,
        };
        let started = std::thread::Builder::new()
            .name("storage-checkpoint".into())
            .spawn(move || job.run());
        match started {
            Ok(handle) => self.checkpoint = Some(handle),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot start a checkpoint"),
        }
    }
}
