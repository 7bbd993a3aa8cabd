//! What containers write, for `kubectl logs`.
//!
//! Servers inside this process keep their last lines in memory; processes write to a file, each
//! line after its time, so that it can be read after the container has ended.

use std::{
    collections::VecDeque,
    io::{self, SeekFrom},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    fs,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::watch,
};

/// Bytes of lines that are kept in memory for a container.
const KEPT: usize = 16 << 10;
/// A file is set aside when it is longer.
const FILE_LIMIT: u64 = 10 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// Its text, without the line break.
    pub(crate) text: String,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines that were dropped from the front.
    dropped: u64,
}

#[derive(Debug)]
enum Sink {
    Memory(Mutex<Ring>),
    File(PathBuf),
}

/// The log of a container.
#[derive(Debug)]
pub(crate) struct Log {
    sink: Sink,
    changed: watch::Sender<()>,
    closed: AtomicBool,
}

impl Log {
    /// A log in memory.
    pub(crate) fn in_memory() -> Self {
        Self {
            sink: Sink::Memory(Mutex::default()),
            changed: watch::Sender::new(()),
            closed: AtomicBool::new(false),
        }
    }

    /// A log in a file.
    pub(crate) fn in_file(path: PathBuf) -> Self {
        Self {
            sink: Sink::File(path),
            changed: watch::Sender::new(()),
            closed: AtomicBool::new(false),
        }
    }

    /// Tells of new lines.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells that no more lines will come: who follows the log is done.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Whether no more lines will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Adds a line to a log in memory.
    pub(crate) fn note(&self, text: String) {
        if let Sink::Memory(ring) = &self.sink {
            let mut ring = ring.lock();
            ring.bytes += text.len();
            ring.lines.push_back(Line {
                at: Timestamp::now(),
                text,
            });
            while ring.bytes > KEPT
                && let Some(line) = ring.lines.pop_front()
            {
                ring.bytes -= line.text.len();
                ring.dropped += 1;
            }
        }
        self.changed.send_replace(());
    }

    /// Opens the file of a log for a container that starts.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) async fn appender(&self) -> io::Result<Option<Appender<'_>>> {
        let Sink::File(path) = &self.sink else { return Ok(None) };
        if fs::metadata(path).await.is_ok_and(|meta| meta.len() > FILE_LIMIT) {
            fs::rename(path, path.with_extension("log.1")).await?;
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(path).await?;
        Ok(Some(Appender { log: self, file }))
    }

    /// The lines from a cursor on (0 is the beginning), and the cursor after them.
    pub(crate) async fn read(&self, cursor: u64) -> (Vec<Line>, u64) {
        match &self.sink {
            Sink::Memory(ring) => {
                let ring = ring.lock();
                let skip = usize::try_from(cursor.saturating_sub(ring.dropped)).unwrap_or(usize::MAX);
                let end = ring.dropped + ring.lines.len() as u64;
                (ring.lines.iter().skip(skip).cloned().collect(), end)
            }
            Sink::File(path) => read_file(path, cursor).await.unwrap_or((Vec::new(), cursor)),
        }
    }
}

async fn read_file(path: &PathBuf, cursor: u64) -> io::Result<(Vec<Line>, u64)> {
    let mut file = fs::File::open(path).await?;
    // A shorter file is a new one.
    let cursor = if file.metadata().await?.len() < cursor {
        0
    } else {
        cursor
    };
    file.seek(SeekFrom::Start(cursor)).await?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await?;
    let complete = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |index| index + 1);
    let lines = String::from_utf8_lossy(&bytes[..complete])
        .lines()
        .filter_map(parse)
        .collect();
    Ok((lines, cursor + complete as u64))
}

fn parse(line: &str) -> Option<Line> {
    let (at, text) = line.split_once(' ')?;
    Some(Line {
        at: at.parse().ok()?,
        text: text.to_owned(),
    })
}

/// Adds lines to the file of a log.
pub(crate) struct Appender<'a> {
    log: &'a Log,
    file: fs::File,
}

impl Appender<'_> {
    /// Adds a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn note(&mut self, text: &str) -> io::Result<()> {
        self.file
            .write_all(format!("{} {text}\n", Timestamp::now()).as_bytes())
            .await?;
        self.file.flush().await?;
        self.log.changed.send_replace(());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn memory_keeps_the_last_lines_and_resumes_at_a_cursor() {
        let log = Log::in_memory();
        for index in 0..5 {
            log.note(format!("{index}{}", "x".repeat(KEPT / 4)));
        }
        let (lines, cursor) = log.read(0).await;
        assert_eq!(lines.len(), 3);
        log.note("next".into());
        assert_eq!(texts(&log.read(cursor).await.0), ["next"]);
    }

    #[tokio::test]
    async fn a_file_is_read_from_where_the_last_read_ended() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::in_file(dir.path().join("a.log"));
        let mut appender = log.appender().await.unwrap().unwrap();
        appender.note("one").await.unwrap();
        let (lines, cursor) = log.read(0).await;
        assert_eq!(texts(&lines), ["one"]);
        appender.note("two words").await.unwrap();
        assert_eq!(texts(&log.read(cursor).await.0), ["two words"]);
    }
}
