//! Opening a data directory: the newest checkpoint, then the logs after it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    OpenError,
    frame::{self, FRAME_HEADER_BYTES, HEADER_BYTES, Header},
    segment::{FileId, Segment},
};
use crate::index::Index;

/// A directory, read.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) files: BTreeMap<u32, Arc<File>>,
    /// The log to append to.
    pub(super) active: Segment,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// A file, open, with its header.
struct Opened {
    id: FileId,
    path: PathBuf,
    file: Arc<File>,
    len: u64,
    header: Header,
}

pub(super) fn recover(directory: &Path) -> Result<Recovered, OpenError> {
    let ids = tidy(directory)?;
    let mut index = Index::default();
    let mut state = Replay {
        index: &mut index,
        reached: 0,
        compacted: 0,
    };
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    let opened = ids
        .iter()
        .map(|id| open(directory, *id))
        .collect::<Result<Vec<_>, _>>()?;
    let (checkpoints, logs): (Vec<_>, Vec<_>) = opened.into_iter().partition(|file| file.id.checkpoint);
    for checkpoint in &checkpoints {
        state.checkpoint(checkpoint)?;
    }
    let mut tail = None;
    for (at, log) in logs.iter().enumerate() {
        let first = checkpoints.last().map_or(1, |checkpoint| checkpoint.id.number + 1);
        let wanted = FileId::log(first + u32::try_from(at).unwrap_or(u32::MAX));
        if log.id != wanted {
            return Err(OpenError::Missing {
                path: wanted.path(directory),
            });
        }
        match logs.get(at + 1) {
            Some(next) => state.finished_log(log, next.header.base)?,
            None => tail = Some((log, state.last_log(log)?)),
        }
    }
    let (reached, compacted) = (state.reached, state.compacted);
    index.restored(compacted, reached);
    for file in checkpoints.iter().chain(&logs) {
        bytes += file.len;
        files.insert(file.id.as_u32(), Arc::clone(&file.file));
    }
    let active = match tail {
        Some((log, len)) => Segment {
            id: log.id,
            file: Arc::clone(&log.file),
            header: log.header,
            len,
        },
        None => {
            let number = checkpoints.last().map_or(1, |checkpoint| checkpoint.id.number + 1);
            let segment = Segment::create(directory, number, reached, compacted);
            segment.map_err(OpenError::file("create a log in", directory))?
        }
    };
    files.insert(active.id.as_u32(), Arc::clone(&active.file));
    Ok(Recovered {
        index,
        files,
        active,
        bytes,
    })
}

/// Lists what counts, in order, and removes what a crash has left behind.
fn tidy(directory: &Path) -> Result<Vec<FileId>, OpenError> {
    let mut ids = Vec::new();
    let entries = fs::read_dir(directory).map_err(OpenError::file("read", directory))?;
    for entry in entries {
        let name = entry.map_err(OpenError::file("read", directory))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".tmp") {
            let path = directory.join(&*name);
            fs::remove_file(&path).map_err(OpenError::file("remove", &path))?;
        }
        ids.extend(FileId::parse(&name));
    }
    ids.sort_unstable();
    if let Some(newest) = ids.iter().rev().find(|id| id.checkpoint).copied() {
        let (keep, outdated): (Vec<_>, Vec<_>) = ids
            .into_iter()
            .partition(|id| *id == newest || (!id.checkpoint && id.number > newest.number));
        for id in outdated {
            let path = id.path(directory);
            fs::remove_file(&path).map_err(OpenError::file("remove", &path))?;
        }
        return Ok(keep);
    }
    Ok(ids)
}

fn open(directory: &Path, id: FileId) -> Result<Opened, OpenError> {
    let path = id.path(directory);
    let failed = OpenError::file("read", &path);
    let read = || -> io::Result<_> {
        let file = File::options().read(true).write(true).open(&path)?;
        let mut header = vec![0; HEADER_BYTES];
        let len = file.metadata()?.len();
        if len >= HEADER_BYTES as u64 {
            file.read_exact_at(&mut header, 0)?;
        }
        Ok((file, len, Header::decode(&header)))
    };
    let (file, len, header) = read().map_err(failed)?;
    let Some(header) = header else {
        return Err(OpenError::Damaged {
            path,
            offset: 0,
            what: "no valid file header",
        });
    };
    Ok(Opened {
        id,
        path,
        file: Arc::new(file),
        len,
        header,
    })
}

impl Opened {
    fn damaged(&self, offset: u64, what: &'static str) -> OpenError {
        OpenError::Damaged {
            path: self.path.clone(),
            offset,
            what,
        }
    }

    fn contents(&self) -> Result<Vec<u8>, OpenError> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(OpenError::file("read", &self.path))?;
        Ok(bytes)
    }
}

struct Replay<'a> {
    index: &'a mut Index,
    reached: u64,
    compacted: u64,
}

impl Replay<'_> {
    /// A checkpoint was synced before it got its name: every frame must be there, to the end mark.
    fn checkpoint(&mut self, file: &Opened) -> Result<(), OpenError> {
        let bytes = file.contents()?;
        let mut at = HEADER_BYTES;
        loop {
            let Some(payload) = file.header.frame(&bytes[at..]) else {
                return Err(file.damaged(at as u64, "a frame of the checkpoint is not whole"));
            };
            if payload.is_empty() {
                at += FRAME_HEADER_BYTES;
                break;
            }
            let offset = (at + FRAME_HEADER_BYTES) as u64;
            for record in frame::records(payload, file.id.as_u32(), offset) {
                let (key, version) = record.ok_or_else(|| file.damaged(offset, "a malformed record"))?;
                self.index.restore(key, version);
            }
            at += FRAME_HEADER_BYTES + payload.len();
        }
        if at < bytes.len() {
            return Err(file.damaged(at as u64, "something follows the end of the checkpoint"));
        }
        self.reached = file.header.base;
        self.compacted = file.header.compacted;
        Ok(())
    }

    /// A log that another one follows: whole up to the revision where that one starts. What lies beyond was
    /// never acknowledged.
    fn finished_log(&mut self, file: &Opened, next_base: u64) -> Result<(), OpenError> {
        let end = self.log(file, next_base)?.0;
        if self.reached < next_base {
            return Err(file.damaged(end as u64, "the log ends before the next file starts"));
        }
        Ok(())
    }

    /// The log that was being written: its last frame may be torn. Returns how much of it is whole.
    fn last_log(&mut self, file: &Opened) -> Result<u64, OpenError> {
        let (end, bytes) = self.log(file, u64::MAX)?;
        let torn = &bytes[end..];
        if !torn.is_empty() {
            if file.header.any_frame(&torn[1..]) {
                return Err(file.damaged(end as u64, "a frame is not whole, and whole frames follow it"));
            }
            let (path, dropped) = (file.path.display(), torn.len());
            tracing::warn!(%path, bytes = dropped, "dropped a torn write at the end of the log");
            let cut = file.file.set_len(end as u64).and_then(|()| file.file.sync_all());
            cut.map_err(OpenError::file("truncate", &file.path))?;
        }
        Ok(end as u64)
    }

    /// Replays the whole frames up to revision `until`. Returns where they end, and the file's bytes.
    fn log(&mut self, file: &Opened, until: u64) -> Result<(usize, Vec<u8>), OpenError> {
        if file.header.base != self.reached {
            return Err(file.damaged(0, "the log does not start where the files before it end"));
        }
        let bytes = file.contents()?;
        let end = self.frames(file, &bytes, until)?;
        Ok((end, bytes))
    }

    fn frames(&mut self, file: &Opened, bytes: &[u8], until: u64) -> Result<usize, OpenError> {
        let mut at = HEADER_BYTES;
        while let Some(payload) = file.header.frame(&bytes[at..]) {
            let offset = (at + FRAME_HEADER_BYTES) as u64;
            for record in frame::records(payload, file.id.as_u32(), offset) {
                let (key, version) = record.ok_or_else(|| file.damaged(offset, "a malformed record"))?;
                if version.revision > until {
                    return Ok(at);
                }
                if version.revision != self.reached + 1 {
                    return Err(file.damaged(offset, "a revision is out of order"));
                }
                self.reached = version.revision;
                self.index.restore(key, version);
            }
            at += FRAME_HEADER_BYTES + payload.len();
        }
        Ok(at)
    }
}
