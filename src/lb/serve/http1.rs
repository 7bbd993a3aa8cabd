//! A client's HTTP/1.1 connection: served by hyper while requests come, parked while none do.
//!
//! Most open connections wait for a request that may never come. hyper's buffers and the request's future would take
//! some 20 KB each; a parked connection is a socket, its TLS session and a few words.

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    server::conn::http1::{self, Parts, UpgradeableConnection},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    conn::{CUT, Downstream, Ended, FINISH, PARK},
    io::Noted,
};
use crate::proxy::{self, response::ResponseBody};

/// Bytes that are read of the request that ends the parking; hyper reads the rest.
const FIRST_READ: usize = 2048;

/// Serves a connection until it closes or switches protocols; `before` has been read from it already.
pub(super) async fn serve<S>(mut stream: S, mut before: Bytes, downstream: Arc<Downstream>) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let longest_head = downstream.worker.shared.settings.longest_head;
    loop {
        let io = TokioIo::new(Noted::new(stream, before, Arc::clone(&downstream)));
        let served = Arc::clone(&downstream);
        let service = service_fn(move |request| proxy::serve(Arc::clone(&served), request));
        // Time limits on heads are the sweep's: a timer per request would cost more than reading it.
        // hyper's own limit of 100 fields stands: naming it would cost clearing the room for them each time.
        let connection = http1::Builder::new()
            .max_header_size(longest_head)
            .header_read_timeout(None)
            .serve_connection(io, service)
            .with_upgrades();
        downstream.set_parkable(true);
        let parked = until_idle(&downstream, Box::new(connection)).await?;
        downstream.set_parkable(false);
        let Some(parts) = parked else { return Ok(()) };
        let rest = parts.read_buf;
        stream = parts.io.into_inner().into_stream();
        before = if rest.is_empty() {
            match poll_fn(|cx| poll_request(&downstream, &mut stream, cx)).await? {
                Some(begun) => begun,
                None => return close(stream).await,
            }
        } else {
            rest
        };
    }
}

/// Drives a connection, following the worker's orders. What it consists of, if it is to be parked.
async fn until_idle<S, H>(
    downstream: &Downstream,
    mut connection: Box<UpgradeableConnection<TokioIo<Noted<S>>, H>>,
) -> Result<Option<Parts<TokioIo<Noted<S>>, H>>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    UpgradeableConnection<TokioIo<Noted<S>>, H>: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut finishing = false;
    let ended = poll_fn(|cx| {
        match downstream.orders(cx) {
            CUT => return Poll::Ready(Err(Ended::Cut)),
            FINISH if !finishing => {
                finishing = true;
                Pin::new(&mut *connection).graceful_shutdown();
            }
            PARK => {
                downstream.parked();
                if downstream.can_park() {
                    return Poll::Ready(Ok(true));
                }
            }
            _ => {}
        }
        Pin::new(&mut *connection)
            .poll(cx)
            .map_ok(|()| false)
            .map_err(Ended::Http)
    });
    Ok(if ended.await? { connection.into_parts() } else { None })
}

/// The beginning of the next request; `None` if there will be none.
fn poll_request<S>(downstream: &Downstream, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Ended>>
where
    S: AsyncRead + Unpin,
{
    match downstream.orders(cx) {
        CUT => return Poll::Ready(Err(Ended::Cut)),
        FINISH => return Poll::Ready(Ok(None)),
        _ => {}
    }
    let mut room = [MaybeUninit::<u8>::uninit(); FIRST_READ];
    let mut begun = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(cx, &mut begun)).map_err(Ended::Broken)?;
    let begun = begun.filled();
    Poll::Ready(Ok((!begun.is_empty()).then(|| Bytes::copy_from_slice(begun))))
}

/// Says goodbye, if that can be done without waiting.
async fn close<S: AsyncWrite + Unpin>(mut stream: S) -> Result<(), Ended> {
    // The client may have gone already, which is as good.
    let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_shutdown(cx))).await;
    Ok(())
}
