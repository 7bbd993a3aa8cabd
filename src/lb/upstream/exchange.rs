//! One request and its response over one HTTP/1.1 connection.
//!
//! Everything is driven by the task that serves the client: first [`Exchange::poll_head`], then
//! [`Exchange::poll_body`]; both keep sending what is left of the request. When both sides are done the connection can
//! be taken back for the next request.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body::Body;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::{
    body::{self, RequestBody},
    chunked::{self, Decoder, Step},
    head::{self, Framing, Head},
    stream::Stream,
};

/// Room for what is usually a whole response.
const FIRST_READ: usize = 8 * 1024;
/// Room for reads of bodies that are known to be large.
const LARGE_READ: usize = 64 * 1024;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The endpoint closed the connection or it broke.
    #[error("the connection to the endpoint broke")]
    Closed {
        /// Whether any byte of the response had arrived.
        answered: bool,
        /// The cause; none for an orderly close.
        #[source]
        source: Option<io::Error>,
    },
    /// The endpoint does not speak HTTP.
    #[error("the endpoint sent no valid response")]
    Malformed {
        /// The cause.
        #[source]
        source: head::Error,
    },
    /// The body is malformed.
    #[error("the endpoint sent no valid response body")]
    MalformedBody {
        /// The cause.
        #[source]
        source: chunked::Malformed,
    },
    /// The client's body failed.
    #[error("the request body failed")]
    Request {
        /// The cause.
        #[source]
        source: body::Error,
    },
}

/// A connection between requests.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: Stream,
    /// Bytes read and not used yet; empty between requests.
    pub read: BytesMut,
    /// The last request's head, kept for its memory.
    write: Vec<u8>,
    /// It has carried a request before.
    pub reused: bool,
}

impl Connection {
    /// A new connection.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            write: Vec::new(),
            reused: false,
        }
    }
}

/// How the request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// With Content-Length, as it comes.
    Plain,
    /// In chunks.
    Chunked,
}

/// A request being exchanged for a response.
#[derive(Debug)]
pub struct Exchange {
    connection: Connection,
    method: Method,
    /// Of `connection.write`.
    written: usize,
    body: Option<RequestBody>,
    sending: Sending,
    /// A chunk under way: its size line, data and end.
    prefix: Bytes,
    chunk: Bytes,
    suffix: &'static [u8],
    framing: Framing,
    left: u64,
    decoder: Decoder,
    done: bool,
    keep_alive: bool,
}

impl Exchange {
    /// Begins: `write_head` writes the request's head, the body follows if there is one.
    pub fn begin(
        mut connection: Connection,
        method: Method,
        body: Option<RequestBody>,
        sending: Sending,
        write_head: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        connection.write.clear();
        write_head(&mut connection.write);
        Self {
            connection,
            method,
            written: 0,
            body,
            sending,
            prefix: Bytes::new(),
            chunk: Bytes::new(),
            suffix: b"",
            framing: Framing::Empty,
            left: 0,
            decoder: Decoder::default(),
            done: false,
            keep_alive: false,
        }
    }

    /// Whether the connection had carried a request before this one.
    pub fn reused(&self) -> bool {
        self.connection.reused
    }

    /// The body, if it has not been touched: for sending the request again.
    pub fn into_intact_body(self) -> Option<RequestBody> {
        self.body.filter(RequestBody::is_intact)
    }

    /// The response's head. Interim responses are skipped, save 101.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let broken = match self.poll_send(cx) {
            Poll::Ready(Err(failure @ Failure::Request { .. })) => return Poll::Ready(Err(failure)),
            // The endpoint may have answered before it stopped reading.
            Poll::Ready(Err(failure)) => Some(failure),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            let parsed = head::parse(&mut self.connection.read, &self.method);
            if let Some(head) = parsed.map_err(|source| Failure::Malformed { source })? {
                if head.status.is_informational() && head.status != http::StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                self.framing = head.framing;
                self.keep_alive = head.keep_alive;
                match head.framing {
                    Framing::Empty => self.done = true,
                    Framing::Length(length) => self.left = length,
                    Framing::Chunked | Framing::Close => {}
                }
                return Poll::Ready(Ok(head));
            }
            let answered = !self.connection.read.is_empty();
            self.connection.read.reserve(FIRST_READ);
            match poll_read_buf(Pin::new(&mut self.connection.stream), cx, &mut self.connection.read) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(broken.unwrap_or(Failure::Closed { answered, source: None })));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(source)) => {
                    return Poll::Ready(Err(Failure::Closed {
                        answered,
                        source: Some(source),
                    }));
                }
                Poll::Pending => return broken.map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
            }
        }
    }

    /// The next piece of the response's body; `None` when it is complete.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if !self.is_sent() {
            // A request that cannot be completed after the response began: the response still counts.
            if let Poll::Ready(Err(_)) = self.poll_send(cx) {
                self.body = None;
                self.keep_alive = false;
            }
        }
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            match self.take_body() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) if self.done => return Poll::Ready(None),
                Ok(None) => {}
                Err(source) => return Poll::Ready(Some(Err(Failure::MalformedBody { source }))),
            }
            self.connection.read.reserve(if self.left > FIRST_READ as u64 {
                LARGE_READ
            } else {
                FIRST_READ
            });
            match ready!(poll_read_buf(
                Pin::new(&mut self.connection.stream),
                cx,
                &mut self.connection.read
            )) {
                Ok(0) if self.framing == Framing::Close => self.done = true,
                Ok(0) => {
                    return Poll::Ready(Some(Err(Failure::Closed {
                        answered: true,
                        source: None,
                    })));
                }
                Ok(_) => {}
                Err(source) => {
                    return Poll::Ready(Some(Err(Failure::Closed {
                        answered: true,
                        source: Some(source),
                    })));
                }
            }
        }
    }

    /// The whole body at once, if it has been read along with the head, as small ones are, and the request is sent.
    pub fn take_whole_body(&mut self) -> Option<Bytes> {
        let here = match self.framing {
            Framing::Empty => 0,
            Framing::Length(length) => usize::try_from(length).ok()?,
            Framing::Chunked | Framing::Close => return None,
        };
        if self.connection.read.len() < here || !self.is_sent() {
            return None;
        }
        (self.left, self.done) = (0, true);
        Some(self.connection.read.split_to(here).freeze())
    }

    /// Body out of what has been read already.
    fn take_body(&mut self) -> Result<Option<Bytes>, chunked::Malformed> {
        let buffer = &mut self.connection.read;
        match self.framing {
            Framing::Empty => self.done = true,
            Framing::Chunked => match self.decoder.step(buffer)? {
                Step::Data(data) => return Ok(Some(data)),
                Step::More => {}
                Step::Done => self.done = true,
            },
            Framing::Length(_) | Framing::Close if buffer.is_empty() => {}
            Framing::Length(_) => {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
                self.left -= take as u64;
                self.done = self.left == 0;
                return Ok(Some(buffer.split_to(take).freeze()));
            }
            Framing::Close => return Ok(Some(buffer.split().freeze())),
        }
        Ok(None)
    }

    /// Whether the response is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes of the response's body that are still to come, if known.
    pub fn remaining(&self) -> Option<u64> {
        match self.framing {
            Framing::Empty => Some(0),
            Framing::Length(_) => Some(self.left),
            Framing::Chunked | Framing::Close => None,
        }
    }

    /// The connection, if it can carry another request.
    pub fn into_reusable(self) -> Option<Connection> {
        let sent = self.is_sent();
        let mut connection = self.connection;
        connection.reused = true;
        (self.done && self.keep_alive && sent && connection.read.is_empty()).then_some(connection)
    }

    /// The bare stream after a 101, with what has been read of it already.
    pub fn into_upgraded(self) -> (Stream, Bytes) {
        (self.connection.stream, self.connection.read.freeze())
    }

    fn is_sent(&self) -> bool {
        self.written == self.connection.write.len() && self.body.is_none() && !self.chunk_pending()
    }

    fn chunk_pending(&self) -> bool {
        !(self.prefix.is_empty() && self.chunk.is_empty() && self.suffix.is_empty())
    }

    /// Sends what there is of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            while self.written < self.connection.write.len() || self.chunk_pending() {
                let closed = |source| Failure::Closed {
                    answered: false,
                    source: Some(source),
                };
                let head = &self.connection.write[self.written..];
                let written = if self.chunk_pending() {
                    let slices = [
                        IoSlice::new(head),
                        IoSlice::new(&self.prefix),
                        IoSlice::new(&self.chunk),
                        IoSlice::new(self.suffix),
                    ];
                    ready!(Pin::new(&mut self.connection.stream).poll_write_vectored(cx, &slices)).map_err(closed)?
                } else {
                    ready!(Pin::new(&mut self.connection.stream).poll_write(cx, head)).map_err(closed)?
                };
                if written == 0 {
                    return Poll::Ready(Err(closed(io::ErrorKind::WriteZero.into())));
                }
                self.advance(written);
            }
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of requests are not forwarded over HTTP/1.1.
                    if let Ok(data) = frame.into_data() {
                        self.queue(data);
                    }
                }
                Poll::Ready(Some(Err(source))) => return Poll::Ready(Err(Failure::Request { source })),
                Poll::Ready(None) => {
                    self.body = None;
                    if self.sending == Sending::Chunked {
                        self.suffix = b"0\r\n\r\n";
                    }
                }
                Poll::Pending => {
                    if matches!(self.connection.stream, Stream::Tls(_)) {
                        ready!(Pin::new(&mut self.connection.stream).poll_flush(cx)).map_err(|source| {
                            Failure::Closed {
                                answered: false,
                                source: Some(source),
                            }
                        })?;
                    }
                    return Poll::Pending;
                }
            }
        }
        match &mut self.connection.stream {
            Stream::Tcp(_) => Poll::Ready(Ok(())),
            stream @ Stream::Tls(_) => Pin::new(stream).poll_flush(cx).map_err(|source| Failure::Closed {
                answered: false,
                source: Some(source),
            }),
        }
    }

    fn queue(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.sending == Sending::Chunked {
            self.prefix = format!("{:x}\r\n", data.len()).into();
            self.suffix = b"\r\n";
        }
        self.chunk = data;
    }

    fn advance(&mut self, mut written: usize) {
        let head = written.min(self.connection.write.len() - self.written);
        self.written += head;
        written -= head;
        for part in [&mut self.prefix, &mut self.chunk] {
            let step = written.min(part.len());
            part.advance(step);
            written -= step;
        }
        self.suffix = &self.suffix[written..];
    }
}
