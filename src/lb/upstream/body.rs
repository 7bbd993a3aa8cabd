//! A client's request body on its way to an endpoint.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How often the rate of a waiting body is looked at.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Why a body ends early. It is always the client's doing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client went away or broke the protocol.
    #[error("cannot read the request body")]
    Read {
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// It arrives too slowly.
    #[error("the request body arrives too slowly")]
    TooSlow,
}

/// How much of a body has been taken.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    complete: AtomicBool,
}

impl Progress {
    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Whether its end has been seen.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Relaxed)
    }
}

/// The body.
#[derive(Debug)]
pub struct RequestBody {
    first: Option<Bytes>,
    inner: Option<Incoming>,
    /// Whether anything was handed out: then the request cannot be sent again.
    touched: bool,
    progress: Arc<Progress>,
    least_rate: Option<LeastRate>,
}

#[derive(Debug)]
struct LeastRate {
    bytes_per_second: u64,
    /// Bytes at the start of the window.
    before: u64,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl RequestBody {
    /// Wraps a body; `least_rate` in bytes per second, 0 for none.
    pub fn new(inner: Incoming, least_rate: u64) -> Self {
        let least_rate = (least_rate > 0).then_some(LeastRate {
            bytes_per_second: least_rate,
            before: 0,
            timer: None,
        });
        Self {
            first: None,
            inner: Some(inner),
            touched: false,
            progress: Arc::default(),
            least_rate,
        }
    }

    /// No body, where one is needed by type.
    pub fn empty() -> Self {
        Self {
            first: None,
            inner: None,
            touched: false,
            progress: Arc::default(),
            least_rate: None,
        }
    }

    /// How much of it has been taken, to be looked at later.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Whether the whole body is still here.
    pub fn is_intact(&self) -> bool {
        !self.touched
    }

    /// Looks at the first chunk without consuming it, so that a malformed one is found before anything is sent.
    ///
    /// # Errors
    /// When the body cannot be read.
    pub fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.first.is_some() || self.is_end_stream() {
            return Poll::Ready(Ok(()));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Ok(()));
        };
        match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.first = frame.into_data().ok();
                Poll::Ready(Ok(()))
            }
            Some(Err(source)) => Poll::Ready(Err(Error::Read { source })),
            None => Poll::Ready(Ok(())),
        }
    }

    fn check_rate(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(rate) = &mut self.least_rate else {
            return Ok(());
        };
        let received = self.progress.received();
        let timer = rate.timer.get_or_insert_with(|| {
            rate.before = received;
            Box::pin(tokio::time::sleep(RATE_WINDOW))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if received - rate.before < rate.bytes_per_second * RATE_WINDOW.as_secs() {
                return Err(Error::TooSlow);
            }
            rate.before = received;
            timer.set(tokio::time::sleep(RATE_WINDOW));
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        this.touched = true;
        if let Some(first) = this.first.take() {
            this.progress.received.fetch_add(first.len() as u64, Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut *inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.progress.received.fetch_add(data.len() as u64, Relaxed);
                }
                this.progress.complete.fetch_or(inner.is_end_stream(), Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(source))) => Poll::Ready(Some(Err(Error::Read { source }))),
            Poll::Ready(None) => {
                this.progress.complete.store(true, Relaxed);
                Poll::Ready(None)
            }
            Poll::Pending => match this.check_rate(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self
            .inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(first) = &self.first {
            let more = first.len() as u64;
            let (lower, upper) = (hint.lower() + more, hint.upper().map(|upper| upper + more));
            hint = SizeHint::default();
            hint.set_lower(lower);
            if let Some(upper) = upper {
                hint.set_upper(upper);
            }
        }
        hint
    }
}
