//! A client's stream that notes when a request's head begins and since when writing is blocked.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Downstream;

/// The stream, with bytes that were read before.
#[derive(Debug)]
pub struct Noted<S> {
    stream: S,
    before: Bytes,
    downstream: Arc<Downstream>,
}

impl<S> Noted<S> {
    /// The stream itself; what was read before has been handed out.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// `before` has been read from `stream` already.
    pub fn new(stream: S, before: Bytes, downstream: Arc<Downstream>) -> Self {
        Self {
            stream,
            before,
            downstream,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let take = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before[..take]);
            self.before.advance(take);
            self.downstream.note_read();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.downstream.note_read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Noted<S> {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.downstream.note_write(polled.is_pending());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
