//! One client's connection.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::task::AtomicWaker;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use traffic::locate::{
    address,
    proxy_protocol::{self, Parsed},
};

use super::{http1, io::Noted, worker::Worker};
use crate::proxy::{self, client::Client};

/// How long a PROXY header or a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection is idle before it gives its buffers back.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// How long an idle client may take to let go of a connection that it was told to.
const FINISHING: Duration = Duration::from_secs(5);
/// How long a client may not take what we send.
const WRITE_BLOCKED_MS: u64 = 60_000;
/// Streams a client may have open on one HTTP/2 connection.
const MOST_STREAMS: u32 = 200;
/// Flow-control windows of HTTP/2: uploads over long distances need them larger than the protocol's 64 KiB.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No orders.
pub(super) const GO_ON: u8 = 0;
/// Give the buffers back if idle.
pub(super) const PARK: u8 = 1;
/// Close when idle.
pub(super) const FINISH: u8 = 2;
/// Close now.
pub(super) const CUT: u8 = 3;

/// A client's connection, as its requests and its worker see it.
#[derive(Debug)]
pub struct Downstream {
    /// Who serves it.
    pub worker: Arc<Worker>,
    /// The peer's address, or what a trusted PROXY header said.
    pub peer: IpAddr,
    /// The same as text.
    pub peer_text: String,
    /// It came in over TLS.
    pub is_tls: bool,
    trusted: bool,
    is_http2: AtomicBool,
    /// The client of the last request.
    pub client: Mutex<Option<Arc<Client>>>,
    active: AtomicU32,
    idle_since_ms: AtomicU64,
    /// 0 unless a head is being received.
    head_since_ms: AtomicU64,
    /// 0 unless writing is blocked.
    blocked_since_ms: AtomicU64,
    /// It has buffers that it could give back while it is idle.
    parkable: AtomicBool,
    /// The body of an earlier request has not been read to its end: what comes next may be the rest of it.
    mid_body: AtomicBool,
    orders: AtomicU8,
    waker: AtomicWaker,
}

impl Downstream {
    fn new(worker: Arc<Worker>, peer: IpAddr, is_tls: bool) -> Arc<Self> {
        let peer = address::canonical(peer);
        let now = worker.shared.clock.now_ms().max(1);
        let downstream = Arc::new(Self {
            trusted: address::is_trusted(peer, &worker.shared.settings.trusted_proxies),
            peer_text: peer.to_string(),
            peer,
            is_tls,
            is_http2: AtomicBool::new(false),
            client: Mutex::default(),
            active: AtomicU32::new(0),
            idle_since_ms: AtomicU64::new(now),
            head_since_ms: AtomicU64::new(0),
            blocked_since_ms: AtomicU64::new(0),
            parkable: AtomicBool::new(false),
            mid_body: AtomicBool::new(false),
            orders: AtomicU8::new(GO_ON),
            waker: AtomicWaker::new(),
            worker: Arc::clone(&worker),
        });
        worker.opened(&downstream);
        downstream
    }

    /// Whether the peer may speak for others.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// A request's head has arrived.
    pub fn begin_request(&self) {
        self.active.fetch_add(1, Relaxed);
        self.head_since_ms.store(0, Relaxed);
    }

    /// A request's response has gone; `body_taken`: its body was read to the end, if it had one.
    pub fn end_request(&self, body_taken: bool) {
        if !body_taken {
            self.mid_body.store(true, Relaxed);
        }
        self.idle_since_ms.store(self.worker.shared.clock.now_ms(), Relaxed);
        self.active.fetch_sub(1, Relaxed);
    }

    /// Bytes arrived.
    pub fn note_read(&self) {
        if self.active.load(Relaxed) == 0 && self.head_since_ms.load(Relaxed) == 0 {
            self.head_since_ms
                .store(self.worker.shared.clock.now_ms().max(1), Relaxed);
        }
    }

    /// Writing was tried.
    pub fn note_write(&self, blocked: bool) {
        let since = self.blocked_since_ms.load(Relaxed);
        if blocked && since == 0 {
            self.blocked_since_ms
                .store(self.worker.shared.clock.now_ms().max(1), Relaxed);
        } else if !blocked && since != 0 {
            self.blocked_since_ms.store(0, Relaxed);
        }
    }

    /// Ends the connection if one of its times is over.
    pub fn sweep(&self, now_ms: u64, draining: bool) {
        let settings = &self.worker.shared.settings;
        let older =
            |since: u64, limit: Duration| since != 0 && now_ms.saturating_sub(since) >= limit.as_millis() as u64;
        let is_idle = self.active.load(Relaxed) == 0;
        let slow_head =
            is_idle && !self.is_http2.load(Relaxed) && older(self.head_since_ms.load(Relaxed), settings.header_timeout);
        let stuck = older(
            self.blocked_since_ms.load(Relaxed),
            Duration::from_millis(WRITE_BLOCKED_MS),
        );
        let idle_since = self.idle_since_ms.load(Relaxed);
        let deaf = is_idle && older(idle_since, settings.idle_timeout + FINISHING);
        if slow_head || stuck || deaf || now_ms == u64::MAX {
            self.order(CUT);
        } else if draining || (is_idle && older(idle_since, settings.idle_timeout)) {
            self.order(FINISH);
        } else if self.can_park() && older(idle_since, PARK_AFTER) {
            self.order(PARK);
        }
    }

    /// It waits for its next request, with everything before it done and sent.
    pub(super) fn can_park(&self) -> bool {
        self.parkable.load(Relaxed)
            && self.active.load(Relaxed) == 0
            && self.head_since_ms.load(Relaxed) == 0
            && self.blocked_since_ms.load(Relaxed) == 0
            && !self.mid_body.load(Relaxed)
    }

    /// From now on it has buffers to give back, or none.
    pub(super) fn set_parkable(&self, parkable: bool) {
        self.parkable.store(parkable, Relaxed);
    }

    /// What it is to do; whoever asks is woken when that changes.
    pub(super) fn orders(&self, cx: &Context<'_>) -> u8 {
        self.waker.register(cx.waker());
        self.orders.load(Relaxed)
    }

    /// The order to park has been dealt with. Others stand.
    pub(super) fn parked(&self) {
        let _ = self.orders.compare_exchange(PARK, GO_ON, Relaxed, Relaxed);
    }

    fn order(&self, orders: u8) {
        if self.orders.fetch_max(orders, Relaxed) < orders {
            self.waker.wake();
        }
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.worker.closed();
    }
}

/// Serves a connection until it closes.
pub async fn run(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    let metrics = worker.shared.metrics.clone();
    if let Err(error) = open(worker, stream, peer, tls).await {
        if matches!(error, Ended::Tls(_)) {
            metrics.tls_failures.inc();
        }
        tracing::debug!(%peer, error = %crate::chain(&error), "a client's connection ended early");
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the peer sent no PROXY header")]
    NoProxyHeader,
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("the handshake took too long")]
    Slow,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("serving the connection failed")]
    Http(#[source] hyper::Error),
    #[error("a time limit was exceeded")]
    Cut,
}

async fn open(
    worker: Arc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> Result<(), Ended> {
    let mut client = peer.ip();
    let mut read = BytesMut::new();
    if address::is_trusted(address::canonical(client), &worker.shared.settings.proxy_protocol_from) {
        let header = Box::pin(tokio::time::timeout(HANDSHAKE, proxy_header(&mut stream, &mut read)));
        let source = header.await.map_err(|_| Ended::Slow)??;
        client = source.map_or(client, |source| source.ip());
    }
    match tls {
        None => {
            let downstream = Downstream::new(worker, client, false);
            let is_http2 = preface(&mut stream, &mut read, &downstream).await?;
            serve(stream, read.freeze(), downstream, is_http2).await
        }
        Some(acceptor) => {
            let before = read.freeze();
            // Boxed, as all that only some connections need: every connection keeps the room of its task's largest state.
            let stream = Box::pin(handshake(acceptor, Rewound { before, stream })).await?;
            let downstream = Downstream::new(worker, client, true);
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, Bytes::new(), downstream, is_http2).await
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: Rewound) -> Result<Box<TlsStream<Rewound>>, Ended> {
    let accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    accepted.map_err(|_| Ended::Slow)?.map(Box::new).map_err(Ended::Tls)
}

async fn proxy_header(stream: &mut TcpStream, read: &mut BytesMut) -> Result<Option<SocketAddr>, Ended> {
    loop {
        match proxy_protocol::parse(read) {
            Parsed::Header { length, source } => {
                let _ = read.split_to(length);
                return Ok(source);
            }
            Parsed::Invalid => return Err(Ended::NoProxyHeader),
            Parsed::Incomplete => {}
        }
        if stream.read_buf(read).await.map_err(Ended::Broken)? == 0 {
            return Err(Ended::NoProxyHeader);
        }
    }
}

/// Reads until it is clear whether the client speaks HTTP/2 with prior knowledge.
async fn preface(stream: &mut TcpStream, read: &mut BytesMut, downstream: &Downstream) -> Result<bool, Ended> {
    loop {
        let known = read.len().min(PREFACE.len());
        if read[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
        let mut reading = pin!(stream.read_buf(read));
        let arrived = poll_fn(|cx| {
            // A connection that never sends anything is idle.
            if downstream.orders(cx) != GO_ON {
                return Poll::Ready(Ok(0));
            }
            reading.as_mut().poll(cx)
        })
        .await;
        if arrived.map_err(Ended::Broken)? == 0 {
            return Ok(false);
        }
    }
}

async fn serve<S>(stream: S, before: Bytes, downstream: Arc<Downstream>, is_http2: bool) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    downstream.is_http2.store(is_http2, Relaxed);
    if is_http2 {
        Box::pin(serve_http2(stream, before, downstream)).await
    } else {
        http1::serve(stream, before, downstream).await
    }
}

async fn serve_http2<S>(stream: S, before: Bytes, downstream: Arc<Downstream>) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let longest_head = downstream.worker.shared.settings.longest_head;
    let io = TokioIo::new(Noted::new(stream, before, Arc::clone(&downstream)));
    let served = Arc::clone(&downstream);
    let service = service_fn(move |request| proxy::serve(Arc::clone(&served), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(longest_head).unwrap_or(u32::MAX))
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut finishing = false;
    poll_fn(|cx| {
        match downstream.orders(cx) {
            CUT => return Poll::Ready(Err(Ended::Cut)),
            FINISH if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        connection.as_mut().poll(cx).map_err(Ended::Http)
    })
    .await
}

/// A TCP stream with bytes that were read before.
struct Rewound {
    before: Bytes,
    stream: TcpStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let take = self.before.len().min(buffer.remaining());
        buffer.put_slice(&self.before.split_to(take));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
