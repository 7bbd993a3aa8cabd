//! The durable in-process engine: an append-only log on disk, and only its index in memory.
//!
//! * One thread writes. It takes every write that is queued, appends them as one frame, syncs the file once and
//!   then answers them all (group commit): 300 creates at once cost two or three syncs.
//! * Values stay on disk and are read through the page cache; memory holds some 200 bytes per version, and
//!   the newest megabyte of values for the watches that are about to ask for them.
//! * A frame that was torn by a power loss can only be the last one; it was never acknowledged and is dropped. A bad
//!   frame with good ones behind it is damage: the store refuses to open rather than lose them.
//! * When most of the log is outdated, what is retained is copied to a checkpoint while writes go on.
//! * A failed write (disk full) fails the writers of its frame, is rolled back, and harms nothing else. The next
//!   one is tried as usual; while there is none, the thread probes, so that readiness comes back by itself.
//!
//! Why not a ready-made store: redb and fjall have no versions, so history, compaction and watches would be written on
//! top of them anyway, and both cache values that the page cache and the watch cache hold already. What is left for
//! such a store to do is this log. `cargo run --release -p storage --example bench-storage DIRECTORY` measures it.

mod checkpoint;
mod frame;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    Error, Storage,
    engine::{Acknowledge, Engine, Journal, Retention, Shared},
    index::Staged,
};
use writer::{Queue, Queued, Writer};

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("data directory {} is in use by another process", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// A file is damaged, and not only at its very end.
    #[error("{} is damaged at byte {offset}: {what}; restore the directory from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A file of the log is gone.
    #[error("{} is missing; restore the directory from a backup", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }
}

/// How an embedded store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Versions replaced longer ago than this are forgotten. Default 5 minutes.
    pub retention: Duration,
    /// At most this many changes are kept, however young. Default 100,000.
    pub retained_changes: usize,
    /// The log is rewritten when it is larger than this, in bytes, and most of it is outdated. Default 16 MiB.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        let Retention { age, changes } = Retention::default();
        Self {
            retention: age,
            retained_changes: changes,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// Opens the store in a directory, which is made if it is missing.
/// Must be called within a tokio runtime: expiry and compaction run as tasks.
///
/// # Errors
/// If the directory is in use, damaged, or cannot be read and written.
pub fn open(directory: &Path) -> Result<Arc<dyn Storage>, OpenError> {
    open_with(directory, &Options::default())
}

/// [`open`] with other options than the default ones.
///
/// # Errors
/// As [`open`].
pub fn open_with(directory: &Path, options: &Options) -> Result<Arc<dyn Storage>, OpenError> {
    fs::create_dir_all(directory).map_err(OpenError::file("create", directory))?;
    let lock = lock(directory)?;
    let recovered = recovery::recover(directory)?;
    let shared = Shared::new(recovered.index, recovered.files);
    let queue = Arc::new(Queue::default());
    let writer = Writer::new(
        directory.to_owned(),
        Arc::clone(&shared),
        Arc::clone(&queue),
        recovered.active,
        recovered.bytes,
        options.checkpoint_bytes,
    );
    let thread = std::thread::Builder::new()
        .name("storage-log".into())
        .spawn(move || writer.run())
        .map_err(OpenError::file("start the log thread of", directory))?;
    let log = Log {
        queue,
        thread: Some(thread),
        _lock: lock,
    };
    let retention = Retention {
        age: options.retention,
        changes: options.retained_changes,
    };
    Ok(Engine::start(shared, Some(Box::new(log)), retention))
}

/// The lock goes with the file: when the process ends, however it does, the kernel releases it.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("LOCK");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(OpenError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            directory: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::File {
            operation: "lock",
            path,
            source,
        }),
    }
}

/// The journal of the embedded engine. Dropping it writes what is queued and ends the thread.
struct Log {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl Journal for Log {
    fn queue(&self, staged: &Staged, acknowledge: Acknowledge) {
        let (key, version) = (Arc::clone(&staged.key), staged.version.clone());
        self.queue.push(Queued {
            key,
            version,
            acknowledge,
        });
    }

    fn check(&self) -> Result<(), Error> {
        self.queue
            .failure()
            .map_or(Ok(()), |cause| Err(Error::backend("write to the log", cause)))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log thread has panicked");
        }
    }
}
