//! The files of a data directory: names, creation, appending.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::frame::{self, HEADER_BYTES, Header};

/// A file of the log, or the checkpoint that replaces all logs up to and including its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) number: u32,
    pub(super) checkpoint: bool,
}

impl FileId {
    pub(super) fn log(number: u32) -> Self {
        Self {
            number,
            checkpoint: false,
        }
    }

    pub(super) fn checkpoint(number: u32) -> Self {
        Self {
            number,
            checkpoint: true,
        }
    }

    /// As the index knows it.
    pub(super) fn as_u32(self) -> u32 {
        self.number * 2 + u32::from(self.checkpoint)
    }

    pub(super) fn path(self, directory: &Path) -> PathBuf {
        let extension = if self.checkpoint { "checkpoint" } else { "log" };
        directory.join(format!("{:010}.{extension}", self.number))
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let (number, extension) = name.split_once('.')?;
        let number = number.parse().ok()?;
        match extension {
            "log" => Some(Self::log(number)),
            "checkpoint" => Some(Self::checkpoint(number)),
            _ => None,
        }
    }
}

/// The log file that is being appended to.
pub(super) struct Segment {
    pub(super) id: FileId,
    pub(super) file: Arc<File>,
    pub(super) header: Header,
    /// Everything up to here is synced.
    pub(super) len: u64,
}

/// Why a frame is not durable.
#[derive(Debug)]
pub(super) enum AppendError {
    /// It could not be written; the file is as it was.
    Write(io::Error),
    /// It was written but not synced. What the disk holds beyond the last synced frame is unknown, so the file
    /// must not be appended to any more.
    Sync(io::Error),
}

impl Segment {
    /// Creates an empty log file. It appears with its header in place or not at all.
    pub(super) fn create(directory: &Path, number: u32, base: u64, compacted: u64) -> io::Result<Self> {
        let id = FileId::log(number);
        let header = Header {
            salt: frame::salt(),
            base,
            compacted,
        };
        let file = create_whole(directory, id, |file| file.write_all_at(&header.encode(), 0))?;
        Ok(Self {
            id,
            file: Arc::new(file),
            header,
            len: HEADER_BYTES as u64,
        })
    }

    /// Appends a frame and returns where it starts, once it is durable.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<u64, AppendError> {
        let start = self.len;
        if let Err(error) = self.file.write_all_at(frame, start) {
            // Gives back what a full disk still took. If that fails too, the next frame overwrites it.
            let _ = self.file.set_len(start);
            return Err(AppendError::Write(error));
        }
        self.file.sync_data().map_err(AppendError::Sync)?;
        self.len = start + frame.len() as u64;
        Ok(start)
    }
}

/// Writes a file under a temporary name, syncs it, and gives it its name: after a crash it is whole or absent.
pub(super) fn create_whole(
    directory: &Path,
    id: FileId,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let path = id.path(directory);
    let temporary = path.with_extension("tmp");
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    let made = write(&file)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = made {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(directory)?;
    Ok(file)
}

/// Makes names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
