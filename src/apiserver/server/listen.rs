//! The listener: TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Server;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that has not finished its headers by then is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Requests one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 250;

/// Accepts until the server stops, then lets open requests end for `grace`.
pub async fn run(server: Arc<Server>, listener: TcpListener, tls: TlsAcceptor, grace: Duration) {
    let graceful = GracefulShutdown::new();
    let stopping = server.stopping.clone();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let watcher = graceful.watcher();
                tokio::spawn(connection(server.clone(), stream, peer, tls.clone(), watcher));
            }
            Err(error) => {
                // Out of file descriptors, mostly: let others finish first.
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates: Arc<[CertificateDer<'static>]> = stream.get_ref().1.peer_certificates().map_or_else(
        || Arc::from([]),
        |chain| chain.iter().map(|c| c.clone().into_owned()).collect(),
    );
    let service = service_fn(move |request| {
        let server = server.clone();
        let certificates = certificates.clone();
        async move { Ok::<_, std::convert::Infallible>(server.serve(request, &certificates).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%peer, error, "connection ended early");
    }
}
