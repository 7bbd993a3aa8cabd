//! The access log: one JSON object per line, written by a thread of its own.
//!
//! A worker formats lines into a buffer of its own and hands it over when it is large or old, so that neither a system
//! call nor a wake-up is paid per request. When the writer cannot keep up, whole buffers are dropped and counted: a slow
//! disk or a blocked pipe never slows a request.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use parking_lot::Mutex;
use prometheus::IntCounter;

/// Buffers that may wait for the writer.
const QUEUED_BUFFERS: usize = 64;
/// A buffer of this size is handed over at once.
const FULL: usize = 32 * 1024;

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

impl std::str::FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "off" | "none" | "" => Self::Off,
            "-" | "stdout" => Self::Stdout,
            path => Self::File(path.into()),
        })
    }
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened for appending.
    #[error("cannot open the access log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the access log's thread")]
    Thread {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What is logged of a request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The client's address.
    pub client: &'a str,
    /// How it was located.
    pub source: &'static str,
    /// Its country, if known.
    pub country: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host as sent.
    pub host: &'a str,
    /// Path and query as sent.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2.0`…
    pub protocol: &'static str,
    /// User-Agent as sent.
    pub user_agent: Option<&'a str>,
    /// X-Request-Id as forwarded.
    pub request_id: Option<&'a str>,
    /// Ingress of the route.
    pub route: Option<&'a str>,
    /// Cluster that answered, or was asked last.
    pub cluster: Option<&'a str>,
    /// Endpoint that answered, or was asked last.
    pub endpoint: Option<&'a str>,
    /// Status; 499 if the client left before there was one.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// From the request's head to the last byte of the response.
    pub duration: Duration,
    /// From sending the request to the head of the response.
    pub upstream: Option<Duration>,
    /// Attempts after the first one.
    pub retries: u32,
    /// What went wrong, if something did.
    pub error: Option<&'a str>,
}

/// A handle on the log; each worker has its own.
#[derive(Debug)]
pub struct AccessLog {
    sender: Option<SyncSender<Vec<u8>>>,
    buffer: Mutex<Buffer>,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Buffer {
    /// Lines of JSON, as bytes: nothing here has to be checked for being text again.
    text: Vec<u8>,
    lines: u64,
    second: i64,
    /// `2026-01-31T12:00:00`, for `second`.
    second_text: String,
}

/// Opens the log and starts its writer.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(target: &Target, dropped: &IntCounter) -> Result<Opener, Error> {
    let sink: Box<dyn std::io::Write + Send> = match target {
        Target::Off => {
            return Ok(Opener {
                sender: None,
                dropped: dropped.clone(),
            });
        }
        Target::Stdout => Box::new(std::io::stdout()),
        Target::File(path) => Box::new(open_file(path)?),
    };
    let (sender, receiver) = sync_channel(QUEUED_BUFFERS);
    let thread = std::thread::Builder::new().name("access-log".to_owned());
    thread
        .spawn(move || write(&receiver, sink))
        .map_err(|source| Error::Thread { source })?;
    Ok(Opener {
        sender: Some(sender),
        dropped: dropped.clone(),
    })
}

fn open_file(path: &Path) -> Result<std::fs::File, Error> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

fn write(receiver: &Receiver<Vec<u8>>, mut sink: Box<dyn std::io::Write + Send>) {
    while let Ok(buffer) = receiver.recv() {
        if let Err(error) = sink.write_all(&buffer).and_then(|()| sink.flush()) {
            tracing::warn!(%error, "cannot write the access log");
        }
    }
}

/// Makes a handle per worker.
#[derive(Debug, Clone)]
pub struct Opener {
    sender: Option<SyncSender<Vec<u8>>>,
    dropped: IntCounter,
}

impl Opener {
    /// A worker's handle.
    pub fn handle(&self) -> Arc<AccessLog> {
        Arc::new(AccessLog {
            sender: self.sender.clone(),
            buffer: Mutex::default(),
            dropped: self.dropped.clone(),
        })
    }
}

impl AccessLog {
    /// Whether anything is logged.
    pub fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Logs a request that ended at `now`.
    pub fn log(&self, now: jiff::Timestamp, entry: &Entry<'_>) {
        if self.sender.is_none() {
            return;
        }
        let mut buffer = self.buffer.lock();
        buffer.line(now, entry);
        if buffer.text.len() >= FULL {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what there is; called regularly.
    pub fn flush(&self) {
        let mut buffer = self.buffer.lock();
        if !buffer.text.is_empty() {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let text = std::mem::replace(&mut buffer.text, Vec::with_capacity(FULL + 1024));
        let lines = std::mem::take(&mut buffer.lines);
        let sent = self.sender.as_ref().is_some_and(|sender| sender.try_send(text).is_ok());
        if !sent {
            self.dropped.inc_by(lines);
        }
    }
}

impl Buffer {
    fn line(&mut self, now: jiff::Timestamp, entry: &Entry<'_>) {
        self.lines += 1;
        if now.as_second() != self.second || self.second_text.is_empty() {
            self.second = now.as_second();
            self.second_text = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        let text = &mut self.text;
        part(text, "{\"time\":\"", &self.second_text);
        text.push(b'.');
        let millis = now.subsec_millisecond().unsigned_abs();
        text.extend([100, 10, 1].map(|unit| b'0' + (millis / unit % 10) as u8));
        part(text, "Z\",\"client\":\"", entry.client);
        part(text, "\",\"location\":\"", entry.source);
        optional(text, "\",\"country\":\"", entry.country);
        part(text, "\",\"method\":\"", entry.method);
        part(text, "\",\"scheme\":\"", entry.scheme);
        foreign(text, "\",\"host\":\"", Some(entry.host));
        foreign(text, "\",\"path\":\"", Some(entry.path));
        part(text, "\",\"protocol\":\"", entry.protocol);
        foreign(text, "\",\"userAgent\":\"", entry.user_agent);
        foreign(text, "\",\"requestId\":\"", entry.request_id);
        optional(text, "\",\"route\":\"", entry.route);
        optional(text, "\",\"cluster\":\"", entry.cluster);
        optional(text, "\",\"endpoint\":\"", entry.endpoint);
        number(text, "\",\"status\":", u64::from(entry.status));
        number(text, ",\"received\":", entry.received);
        number(text, ",\"sent\":", entry.sent);
        number(text, ",\"durationMicros\":", micros(entry.duration));
        number(text, ",\"retries\":", u64::from(entry.retries));
        if let Some(upstream) = entry.upstream {
            number(text, ",\"upstreamMicros\":", micros(upstream));
        }
        if entry.error.is_some() {
            foreign(text, ",\"error\":\"", entry.error);
            text.push(b'"');
        }
        text.extend_from_slice(b"}\n");
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A value of ours that needs no escaping, after `lead`: what ends the value before, and the key.
fn part(text: &mut Vec<u8>, lead: &str, value: &str) {
    text.extend_from_slice(lead.as_bytes());
    text.extend_from_slice(value.as_bytes());
}

fn optional(text: &mut Vec<u8>, lead: &str, value: Option<&str>) {
    if let Some(value) = value {
        part(text, lead, value);
    }
}

/// A value that comes from outside and may contain anything.
fn foreign(text: &mut Vec<u8>, lead: &str, value: Option<&str>) {
    if let Some(value) = value {
        text.extend_from_slice(lead.as_bytes());
        escape(text, value);
    }
}

fn number(text: &mut Vec<u8>, lead: &str, value: u64) {
    text.extend_from_slice(lead.as_bytes());
    decimal(text, value);
}

/// Appends `value` as the inside of a JSON string.
fn escape(text: &mut Vec<u8>, value: &str) {
    // Looked through to its end, which goes by many bytes at a time.
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if !value.bytes().fold(false, |found, byte| found | special(byte)) {
        text.extend_from_slice(value.as_bytes());
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            // Writing to a Vec cannot fail.
            byte if byte < 0x20 => drop(write!(text, "\\u{byte:04x}")),
            byte => text.push(byte),
        }
    }
}

/// Appends the decimal digits of a number.
fn decimal(text: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry<'a>(path: &'a str, user_agent: Option<&'a str>) -> Entry<'a> {
        Entry {
            client: "81.2.69.142",
            source: "database",
            country: Some("GB"),
            method: "GET",
            scheme: "http",
            host: "a.example",
            path,
            protocol: "HTTP/1.1",
            user_agent,
            request_id: None,
            route: Some("default/web"),
            cluster: Some("eu"),
            endpoint: Some("127.16.0.5:8080"),
            status: 200,
            received: 0,
            sent: u64::MAX,
            duration: Duration::from_micros(1234),
            upstream: Some(Duration::from_micros(1000)),
            retries: 1,
            error: None,
        }
    }

    fn now() -> jiff::Timestamp {
        "2026-01-31T12:00:00.007Z".parse().expect("a time")
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut buffer = Buffer::default();
        buffer.line(now(), &entry("/x?y=1", Some("curl/8 \"quoted\"\n")));
        assert!(buffer.text.ends_with(b"}\n"));
        let line: serde_json::Value = serde_json::from_slice(&buffer.text).expect("JSON");
        assert_eq!(line["time"], "2026-01-31T12:00:00.007Z");
        assert_eq!(line["userAgent"], "curl/8 \"quoted\"\n");
        assert_eq!(line["sent"], u64::MAX);
        assert_eq!(line["durationMicros"], 1234);
        assert_eq!(line["cluster"], "eu");
        assert!(line.get("requestId").is_none());
    }

    #[test]
    fn buffers_that_nobody_takes_are_dropped_and_counted() {
        let (sender, receiver) = sync_channel(1);
        let dropped = IntCounter::new("dropped", "dropped").expect("a counter");
        let log = AccessLog {
            sender: Some(sender),
            buffer: Mutex::default(),
            dropped: dropped.clone(),
        };
        for _ in 0..3 {
            log.log(now(), &entry("/", None));
            log.log(now(), &entry("/", None));
            log.flush();
        }
        assert_eq!(dropped.get(), 4);
        assert_eq!(
            receiver
                .try_recv()
                .expect("the first buffer")
                .split(|byte| *byte == b'\n')
                .count(),
            3
        );
    }

    #[test]
    fn targets_are_named_by_text() {
        for (text, target) in [
            ("-", Target::Stdout),
            ("off", Target::Off),
            ("/var/log/a", Target::File("/var/log/a".into())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(path in ".{0,60}", agent in ".{0,60}", number: u64) {
            let mut buffer = Buffer::default();
            buffer.line(now(), &entry(&path, Some(&agent)));
            let line: serde_json::Value = serde_json::from_slice(&buffer.text).expect("JSON");
            prop_assert_eq!(line["path"].as_str(), Some(&*path));
            prop_assert_eq!(line["userAgent"].as_str(), Some(&*agent));
            let mut digits = Vec::new();
            decimal(&mut digits, number);
            prop_assert_eq!(digits, number.to_string().into_bytes());
        }
    }
}
