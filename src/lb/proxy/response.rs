//! Bodies of responses on their way to clients.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::ticket::Ticket;
use crate::upstream::{Exchange, Failure};

/// A body; it keeps the request's ticket until it is sent or given up.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    /// None after a switch of protocols: the tunnel has it.
    ticket: Option<Box<Ticket>>,
}

#[derive(Debug)]
enum Kind {
    /// All of it at once.
    Full(Bytes),
    /// Out of an HTTP/1.1 exchange with the endpoint of this id, whose connection is kept afterwards.
    Http1(Option<(Box<Exchange>, u64)>),
    /// Out of an HTTP/2 stream.
    Http2(Incoming),
}

/// The endpoint broke off in the middle: the client must see the response break off too.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Over HTTP/1.1.
    #[error("the response broke off")]
    Http1 {
        /// The cause.
        #[source]
        source: Failure,
    },
    /// Over HTTP/2.
    #[error("the response stream broke off")]
    Http2 {
        /// The cause.
        #[source]
        source: hyper::Error,
    },
}

impl ResponseBody {
    /// A body that is all here: our own words, or a small one.
    pub fn full(text: Bytes, ticket: Box<Ticket>) -> Self {
        Self {
            kind: Kind::Full(text),
            ticket: Some(ticket),
        }
    }

    /// The body of an exchange whose head has arrived.
    pub fn http1(mut exchange: Box<Exchange>, endpoint: u64, ticket: Box<Ticket>) -> Self {
        if let Some(whole) = exchange.take_whole_body() {
            keep_connection(*exchange, endpoint, &ticket);
            return Self::full(whole, ticket);
        }
        Self {
            kind: Kind::Http1(Some((exchange, endpoint))),
            ticket: Some(ticket),
        }
    }

    /// The body of an HTTP/2 stream.
    pub fn http2(incoming: Incoming, ticket: Box<Ticket>) -> Self {
        Self {
            kind: Kind::Http2(incoming),
            ticket: Some(ticket),
        }
    }

    /// Nothing, when a tunnel follows.
    pub fn switched() -> Self {
        Self {
            kind: Kind::Full(Bytes::new()),
            ticket: None,
        }
    }
}

/// Gives the connection of an exchange that is over back, for the next request to the endpoint.
fn keep_connection(exchange: Exchange, endpoint: u64, ticket: &Ticket) {
    if let Some(connection) = exchange.into_reusable() {
        let worker = &ticket.worker;
        worker.pool.put(endpoint, connection, worker.shared.clock.now_ms());
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let polled = match &mut this.kind {
            Kind::Full(text) if text.is_empty() => Poll::Ready(None),
            Kind::Full(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Kind::Http1(None) => Poll::Ready(None),
            Kind::Http1(slot @ Some(_)) => {
                let polled = slot
                    .as_mut()
                    .map_or(Poll::Ready(None), |(exchange, _)| exchange.poll_body(cx));
                let done = slot.take_if(|(exchange, _)| exchange.is_done());
                if let (Some((exchange, endpoint)), Some(ticket)) = (done, &this.ticket) {
                    keep_connection(*exchange, endpoint, ticket);
                }
                polled.map(|data| data.map(|data| data.map(Frame::data).map_err(|source| Error::Http1 { source })))
            }
            Kind::Http2(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|source| Error::Http2 { source }))),
        };
        let Some(ticket) = &mut this.ticket else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => ticket.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Poll::Ready(Some(Err(error))) => ticket.error = Some(crate::chain(error)),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(text) => text.is_empty(),
            Kind::Http1(exchange) => exchange.is_none(),
            Kind::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(text) => SizeHint::with_exact(text.len() as u64),
            Kind::Http1(None) => SizeHint::with_exact(0),
            Kind::Http1(Some((exchange, _))) => exchange
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Http2(incoming) => incoming.size_hint(),
        }
    }
}
