//! The bytes of the log: files of frames of records.
//!
//! A file starts with a header holding a random salt. Each frame is one group commit, guarded by a checksum over
//! salt and payload; so neither stale disk blocks nor a value that looks like a frame can pass for one.
//! All numbers are little-endian.

use crate::index::{Location, Version};

/// Starts every file, and names the version of the format.
const FILE_MAGIC: [u8; 8] = *b"KFEDLOG1";
/// Starts every frame.
const FRAME_MAGIC: [u8; 4] = *b"\xFAFRM";
/// Magic, salt, base, compacted, checksum.
pub(super) const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 4;
/// Magic, length of the payload, checksum.
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 4;
/// Revision, created, expires, flags, lengths of key and value.
const RECORD_HEADER_BYTES: usize = 8 + 8 + 8 + 1 + 4 + 4;
const FLAG_DELETED: u8 = 1;

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) salt: [u8; 8],
    /// A log file: the revision that the files before it reach, whatever else they hold. A checkpoint: the one it shows.
    pub(super) base: u64,
    /// Versions up to here may be missing.
    pub(super) compacted: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..16].copy_from_slice(&self.salt);
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.compacted.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let intact = bytes[..8] == FILE_MAGIC && u32_at(bytes, 32)? == crc32fast::hash(&bytes[..32]);
        let salt = bytes[8..16].try_into().ok()?;
        intact.then_some(Self {
            salt,
            base: u64_at(bytes, 16)?,
            compacted: u64_at(bytes, 24)?,
        })
    }

    fn checksum(&self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt);
        hasher.update(payload);
        hasher.finalize()
    }

    /// The payload of the frame at the start of `bytes`, if it is whole.
    pub(super) fn frame<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        if header[..4] != FRAME_MAGIC {
            return None;
        }
        let len = u32_at(header, 4)? as usize;
        let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES.checked_add(len)?)?;
        (u32_at(header, 8)? == self.checksum(payload)).then_some(payload)
    }

    /// Whether any whole frame starts somewhere in `bytes`.
    pub(super) fn any_frame(&self, bytes: &[u8]) -> bool {
        let starts = bytes
            .windows(FRAME_MAGIC.len())
            .enumerate()
            .filter(|(_, window)| **window == FRAME_MAGIC);
        starts.into_iter().any(|(at, _)| self.frame(&bytes[at..]).is_some())
    }
}

/// A frame under construction.
pub(super) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; FRAME_HEADER_BYTES],
        }
    }

    /// Bytes of records so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - FRAME_HEADER_BYTES
    }

    /// Adds a record and returns where its value starts, counted from the start of the frame.
    pub(super) fn record(&mut self, key: &str, version: &Version, value: &[u8]) -> usize {
        let flags = if version.deleted { FLAG_DELETED } else { 0 };
        self.bytes.extend_from_slice(&version.revision.to_le_bytes());
        self.bytes.extend_from_slice(&version.created.to_le_bytes());
        self.bytes.extend_from_slice(&version.expires.to_le_bytes());
        self.bytes.push(flags);
        self.bytes.extend_from_slice(&len(key.as_bytes()).to_le_bytes());
        self.bytes.extend_from_slice(&len(value).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        at
    }

    /// The whole frame. Without records it marks the end of a checkpoint, and means nothing in a log.
    pub(super) fn finish(mut self, header: &Header) -> Vec<u8> {
        let (frame, payload) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        frame[4..8].copy_from_slice(&len(payload).to_le_bytes());
        frame[8..].copy_from_slice(&header.checksum(payload).to_le_bytes());
        self.bytes
    }
}

/// Keys, values and frames are far below 4 GiB: values are limited, and a frame is closed at a few megabytes.
fn len(bytes: &[u8]) -> u32 {
    debug_assert!(u32::try_from(bytes.len()).is_ok(), "a length fits into 32 bits");
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The records of a payload that starts at `offset` of file `file`; `None` in place of a malformed one, then no more.
pub(super) fn records(payload: &[u8], file: u32, offset: u64) -> impl Iterator<Item = Option<(&str, Version)>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let record = record(payload, at, file, offset);
        at = record.as_ref().map_or(payload.len(), |(_, _, end)| *end);
        Some(record.map(|(key, version, _)| (key, version)))
    })
}

fn record(payload: &[u8], at: usize, file: u32, offset: u64) -> Option<(&str, Version, usize)> {
    let header = payload.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
    let (key_len, value_len) = (u32_at(header, 25)?, u32_at(header, 29)?);
    let key_at = at + RECORD_HEADER_BYTES;
    let value_at = key_at.checked_add(key_len as usize)?;
    let end = value_at.checked_add(value_len as usize)?;
    payload.get(value_at..end)?;
    let key = std::str::from_utf8(payload.get(key_at..value_at)?).ok()?;
    let version = Version {
        revision: u64_at(header, 0)?,
        created: u64_at(header, 8)?,
        expires: u64_at(header, 16)?,
        deleted: header[24] & FLAG_DELETED != 0,
        value: None,
        location: Location {
            file,
            len: value_len,
            offset: offset + value_at as u64,
        },
    };
    Some((key, version, end))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A salt that no earlier file in the same place had.
pub(super) fn salt() -> [u8; 8] {
    use std::hash::{BuildHasher as _, RandomState};
    // RandomState is seeded by the operating system; the hash of nothing is as random as its seed.
    RandomState::new().hash_one(()).to_le_bytes()
}
