//! Rewriting the log: everything retained goes into one new file, then the old files go.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use super::{
    frame::{self, Builder, HEADER_BYTES, Header},
    segment::{FileId, create_whole, sync_directory},
};
use crate::{
    engine::Shared,
    index::{Location, Version},
};

/// Frames of a checkpoint are closed at this size.
const FRAME_BYTES: usize = 1 << 20;
/// A checkpoint is synced whenever this much was written. File systems with a journal write out what other files have
/// unsynced before they sync the log: without limit, a write that comes meanwhile would wait for the whole checkpoint.
const SYNC_BYTES: u64 = 4 << 20;

/// One checkpoint to be made. Writes go on meanwhile, in files with higher numbers.
pub(super) struct Job {
    pub(super) directory: PathBuf,
    pub(super) shared: Arc<Shared>,
    /// Its number is that of the last log it covers.
    pub(super) id: FileId,
    /// The last revision it covers.
    pub(super) base: u64,
}

impl Job {
    /// Makes it. Returns how many bytes smaller the directory is; `None` if it failed, which harms nothing.
    pub(super) fn run(self) -> Option<u64> {
        match self.make() {
            Ok(freed) => Some(freed),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot make a checkpoint");
                None
            }
        }
    }

    fn make(&self) -> io::Result<u64> {
        let (compacted, mut versions, files) = self.shared.read(|state| {
            (
                state.index.compacted(),
                state.index.retained(self.base),
                state.files.clone(),
            )
        });
        // In the order of the old files, so that they are read once, front to back.
        versions.sort_unstable_by_key(|(_, version)| version.revision);
        let header = Header {
            salt: frame::salt(),
            base: self.base,
            compacted,
        };
        let mut moved = Vec::with_capacity(versions.len());
        let file = create_whole(&self.directory, self.id, |file| {
            let mut output = Output {
                file,
                header,
                at: 0,
                synced: 0,
                frame: Builder::new(),
                pending: Vec::new(),
            };
            output.write(&header.encode())?;
            for (key, version) in versions {
                let value = read(&files, &version)?;
                output.record(self.id, key, &version, &value, &mut moved)?;
            }
            output.flush(self.id, &mut moved)?;
            output.write(&Builder::new().finish(&header))
        })?;
        let size = file.metadata()?.len();
        let outdated = self.shared.change(|state| {
            for (key, revision, location) in moved {
                state.index.relocate(&key, revision, location);
            }
            let current = state.files.split_off(&(self.id.as_u32() + 1));
            let outdated = std::mem::replace(&mut state.files, current);
            state.files.insert(self.id.as_u32(), Arc::new(file));
            outdated
        });
        let mut freed = 0;
        for (id, file) in outdated {
            freed += file.metadata()?.len();
            fs::remove_file(
                FileId {
                    number: id / 2,
                    checkpoint: id % 2 == 1,
                }
                .path(&self.directory),
            )?;
        }
        sync_directory(&self.directory)?;
        tracing::debug!(size, freed, "made a checkpoint");
        Ok(freed.saturating_sub(size))
    }
}

fn read(files: &std::collections::BTreeMap<u32, Arc<File>>, version: &Version) -> io::Result<Vec<u8>> {
    if let Some(value) = &version.value {
        return Ok(value.to_vec());
    }
    let mut value = vec![0; version.location.len as usize];
    if !value.is_empty() {
        let file = files.get(&version.location.file);
        let file = file.ok_or_else(|| io::Error::other("a value lies in a file that is not open"))?;
        file.read_exact_at(&mut value, version.location.offset)?;
    }
    Ok(value)
}

/// A version's new place.
type Moved = (Arc<str>, u64, Location);

struct Output<'a> {
    file: &'a File,
    header: Header,
    at: u64,
    synced: u64,
    frame: Builder,
    /// Records of the frame under construction: key, revision, length and offset in the frame.
    pending: Vec<(Arc<str>, u64, u32, usize)>,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(())
    }

    fn record(
        &mut self,
        id: FileId,
        key: Arc<str>,
        version: &Version,
        value: &[u8],
        moved: &mut Vec<Moved>,
    ) -> io::Result<()> {
        let offset = self.frame.record(&key, version, value);
        self.pending.push((key, version.revision, version.location.len, offset));
        if self.frame.len() >= FRAME_BYTES {
            self.flush(id, moved)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, id: FileId, moved: &mut Vec<Moved>) -> io::Result<()> {
        if self.frame.len() == 0 {
            return Ok(());
        }
        let start = self.at;
        debug_assert!(start >= HEADER_BYTES as u64, "frames come after the header");
        let frame = std::mem::replace(&mut self.frame, Builder::new()).finish(&self.header);
        self.write(&frame)?;
        for (key, revision, len, offset) in self.pending.drain(..) {
            moved.push((
                key,
                revision,
                Location {
                    file: id.as_u32(),
                    len,
                    offset: start + offset as u64,
                },
            ));
        }
        Ok(())
    }
}
