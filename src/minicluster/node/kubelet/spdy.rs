//! SPDY/3.1 as far as port-forwarding needs it: the frames, and the side of the server.
//!
//! Clients of Kubernetes upgrade to it and open streams on the connection. They do without flow
//! control, priorities and settings, so those frames are passed over.

use std::{collections::HashMap, io};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const VERSION: u16 = 3;
const FIN: u8 = 1;
/// Headers of a stream are a few short words; more than this is not what we speak.
const MOST_HEADER_BYTES: usize = 16 << 10;
/// What a frame may carry.
const MOST_FRAME_BYTES: usize = 1 << 20;
/// First part of the dictionary that both sides' header compression starts from: words, each after its length.
const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|\
accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|content-language|\
content-length|content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|\
if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|\
proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|\
user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|\
keep-alive|origin";
/// The rest of the dictionary.
const PHRASES: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS.split('|') {
        bytes.extend((word.len() as u32).to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(PHRASES.as_bytes());
    bytes
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    Open {
        /// Its number.
        stream: u32,
        /// What it is for.
        headers: HashMap<String, String>,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
        /// Whether they are the last ones.
        fin: bool,
    },
    /// A stream has failed.
    Reset {
        /// Its number.
        stream: u32,
    },
    /// To be sent back.
    Ping {
        /// Its number.
        id: u32,
    },
    /// No more streams.
    GoAway,
    /// Anything else.
    Other,
}

/// What we send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A stream is accepted.
    Accept(u32),
    /// Bytes of a stream, and whether they are the last ones.
    Data(u32, Bytes, bool),
    /// An answered ping.
    Ping(u32),
}

/// Header blocks of one direction: one compressed stream over the whole connection.
struct Inflater {
    stream: Decompress,
    started: bool,
}

impl Inflater {
    /// The window is filled with the dictionary by way of a block that is not compressed: that works with every inflater.
    fn new() -> io::Result<Self> {
        let dictionary = dictionary();
        let length = dictionary.len() as u16;
        let mut block = vec![0];
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.extend(dictionary);
        let mut inflater = Self {
            stream: Decompress::new(false),
            started: true,
        };
        inflater.inflate(&block)?;
        inflater.started = false;
        Ok(inflater)
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<Vec<u8>> {
        if !self.started {
            // Two bytes of format, and four that name the dictionary if there is one.
            let dictionary = input.get(1).ok_or_else(|| broken("header block without a start"))? & 0x20 != 0;
            let skipped = if dictionary { 6 } else { 2 };
            input = input
                .get(skipped..)
                .ok_or_else(|| broken("header block without a start"))?;
            self.started = true;
        }
        let mut output = Vec::with_capacity(4 << 10);
        loop {
            let before = self.stream.total_in();
            let status = self.stream.decompress_vec(input, &mut output, FlushDecompress::Sync);
            let status = status.map_err(|_| broken("header block that is not compressed"))?;
            let consumed = usize::try_from(self.stream.total_in() - before).unwrap_or(input.len());
            input = &input[consumed..];
            let is_full = output.len() == output.capacity();
            if output.len() > MOST_HEADER_BYTES {
                return Err(broken("header block that is too large"));
            }
            if input.is_empty() && !is_full {
                return Ok(output);
            }
            if status == Status::StreamEnd || (consumed == 0 && !is_full) {
                return Err(broken("header block that does not end"));
            }
            output.reserve(4 << 10);
        }
    }
}

/// Takes bytes off the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| broken("frame that is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = usize::try_from(self.number()?).map_err(|_| broken("text that is too long"))?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

fn headers(block: &[u8]) -> io::Result<HashMap<String, String>> {
    let mut cursor = Cursor(block);
    let count = cursor.number()?;
    (0..count)
        .map(|_| Ok((cursor.text()?.to_ascii_lowercase(), cursor.text()?)))
        .collect()
}

/// Reads frames.
pub(super) struct Reader<R> {
    input: R,
    inflater: Inflater,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// From the beginning of a connection.
    ///
    /// # Errors
    /// Never in practice: the dictionary is ours.
    pub(super) fn new(input: R) -> io::Result<Self> {
        Ok(Self {
            input,
            inflater: Inflater::new()?,
        })
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection fails, or does not speak SPDY/3.1.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 8];
        match self.input.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let [a, b, c, d, flags, e, f, g] = head;
        let length = usize::from(e) << 16 | usize::from(f) << 8 | usize::from(g);
        if length > MOST_FRAME_BYTES {
            return Err(broken("frame that is too large"));
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).await?;
        if a & 0x80 == 0 {
            return Ok(Some(Frame::Data {
                stream: u32::from_be_bytes([a, b, c, d]),
                bytes: body.into(),
                fin: flags & FIN != 0,
            }));
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(broken("frame of another version"));
        }
        let mut cursor = Cursor(&body);
        Ok(Some(match u16::from_be_bytes([c, d]) {
            1 => {
                let stream = cursor.number()?;
                // The associated stream and the priority mean nothing here.
                cursor.take(6)?;
                let block = self.inflater.inflate(cursor.0)?;
                Frame::Open {
                    stream,
                    headers: headers(&block)?,
                }
            }
            3 => Frame::Reset {
                stream: cursor.number()?,
            },
            6 => Frame::Ping { id: cursor.number()? },
            7 => Frame::GoAway,
            8 => {
                // Not needed, but the compression must follow.
                cursor.take(4)?;
                self.inflater.inflate(cursor.0)?;
                Frame::Other
            }
            _ => Frame::Other,
        }))
    }
}

/// Writes frames.
pub(super) struct Writer<W> {
    output: W,
    deflater: Compress,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// From the beginning of a connection.
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            deflater: Compress::new(Compression::fast(), true),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) async fn send(&mut self, answer: Answer) -> io::Result<()> {
        let frame = match answer {
            Answer::Accept(stream) => {
                let mut body = stream.to_be_bytes().to_vec();
                body.extend(self.no_headers()?);
                control(2, &body)
            }
            Answer::Ping(id) => control(6, &id.to_be_bytes()),
            Answer::Data(stream, bytes, fin) => {
                let mut frame = (stream & 0x7fff_ffff).to_be_bytes().to_vec();
                frame.push(if fin { FIN } else { 0 });
                frame.extend(&(bytes.len() as u32).to_be_bytes()[1..]);
                frame.extend(bytes);
                frame
            }
        };
        self.output.write_all(&frame).await?;
        self.output.flush().await
    }

    fn no_headers(&mut self) -> io::Result<Vec<u8>> {
        let mut block = Vec::with_capacity(64);
        let written = self
            .deflater
            .compress_vec(&0_u32.to_be_bytes(), &mut block, FlushCompress::Sync);
        written.map_err(io::Error::other)?;
        Ok(block)
    }
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = (VERSION | 0x8000).to_be_bytes().to_vec();
    frame.extend(kind.to_be_bytes());
    // No flags, then three bytes of length.
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two header blocks of one connection, compressed by zlib with the dictionary: streamtype, port and requestid.
    const BLOCKS: [&[u8]; 2] = [
        b"\x78\xf9\xe3\xc6\xa7\xc2\x02\x25\x3a\x70\x3a\x2b\x29\x4a\x4d\xcc\x45\x2a\x4a\x12\x21\xa5\x72\x11\x38\x03\x58\
\x18\x58\x18\x00\x69\xce\x22\x48\x2c\x66\x82\x52\x37\xa3\x01\x00\x00\x00\xff\xff",
        b"\xc2\xaa\x97\x35\x15\x14\x49\x04\x35\x1b\x02\x00\x00\x00\xff\xff",
    ];

    fn open(stream: u32, block: &[u8]) -> Vec<u8> {
        let mut body = stream.to_be_bytes().to_vec();
        body.extend([0; 6]);
        body.extend(block);
        control(1, &body)
    }

    #[tokio::test]
    async fn streams_are_opened_with_headers_compressed_over_the_whole_connection() {
        let bytes = [open(1, BLOCKS[0]), open(3, BLOCKS[1])].concat();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        for (stream, kind, request) in [(1, "data", "0"), (3, "error", "1")] {
            let expected = [("streamtype", kind), ("port", "8080"), ("requestid", request)];
            let headers = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            assert_eq!(reader.next().await.unwrap(), Some(Frame::Open { stream, headers }));
        }
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn data_and_pings_arrive_as_they_were_sent() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer
            .send(Answer::Data(5, Bytes::from_static(b"hello"), true))
            .await
            .unwrap();
        writer.send(Answer::Ping(7)).await.unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let data = Frame::Data {
            stream: 5,
            bytes: Bytes::from_static(b"hello"),
            fin: true,
        };
        assert_eq!(reader.next().await.unwrap(), Some(data));
        assert_eq!(reader.next().await.unwrap(), Some(Frame::Ping { id: 7 }));
    }

    #[tokio::test]
    async fn what_is_not_spdy_is_refused() {
        let endless = open(1, &[&BLOCKS[0][..6], &[0xff; 40]].concat());
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0x80, 2, 0, 1, 0, 0, 0, 0],
            endless,
            open(1, b""),
        ] {
            assert!(Reader::new(&bytes[..]).unwrap().next().await.is_err(), "{bytes:?}");
        }
    }
}
