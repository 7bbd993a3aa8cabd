//! Sends a request on and streams the answer back.

use apimachinery::status::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    errors,
    handlers::Context,
    reply::{self, Reply},
};

/// Headers that belong to one hop.
const HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Where a request goes on.
pub(super) struct Upstream {
    /// Whether it speaks TLS.
    pub(super) tls: bool,
    /// It is a kubelet, which wants to know that it is us who ask.
    pub(super) kubelet: bool,
    /// Host name or address.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
}

/// Sends the request on and the answer back, streaming; splices an upgraded connection.
///
/// # Errors
/// 500 if it cannot be reached.
pub(super) async fn forward(context: &Context, upstream: Upstream, bytes: &Bytes) -> Result<Reply, Status> {
    let unreachable = |error: &dyn std::error::Error| {
        let scheme = if upstream.tls { "https" } else { "http" };
        let Upstream { host, port, path, .. } = &upstream;
        errors::internal(format!(
            "Get \"{scheme}://{host}:{port}{path}\": {}",
            errors::chain(error)
        ))
    };
    let connecting = TcpStream::connect((upstream.host.as_str(), upstream.port));
    let stream = connecting.await.map_err(|e| unreachable(&e))?;
    let request = outgoing(context, &upstream, bytes)?;
    if upstream.tls {
        let tls = &context.server.outgoing_tls;
        let connector = if upstream.kubelet { &tls.kubelet } else { &tls.anybody };
        let name = ServerName::try_from(upstream.host.clone()).map_err(|e| unreachable(&e))?;
        let stream = connector.connect(name, stream).await.map_err(|e| unreachable(&e))?;
        exchange(context, stream, request).await.map_err(|e| unreachable(&e))
    } else {
        exchange(context, stream, request).await.map_err(|e| unreachable(&e))
    }
}

fn outgoing(context: &Context, upstream: &Upstream, bytes: &Bytes) -> Result<Request<Full<Bytes>>, Status> {
    let path = upstream.path.parse::<PathAndQuery>().map_err(errors::internal)?;
    let mut request = Request::new(Full::new(bytes.clone()));
    *request.method_mut() = context.method.clone();
    *request.uri_mut() = Uri::from(path);
    let upgrades = context.headers.contains_key(header::UPGRADE);
    let headers = request.headers_mut();
    for (name, value) in &context.headers {
        let secret = [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH].contains(name);
        let hop = HOP.contains(&name.as_str()) && !(upgrades && is_upgrade(name));
        if !secret && !hop && !name.as_str().starts_with("impersonate-") {
            headers.append(name.clone(), value.clone());
        }
    }
    let host = format!("{}:{}", upstream.host, upstream.port);
    headers.insert(header::HOST, host.parse().map_err(errors::internal)?);
    Ok(request)
}

fn is_upgrade(name: &HeaderName) -> bool {
    name == header::UPGRADE || name == header::CONNECTION
}

async fn exchange<S>(context: &Context, stream: S, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await?;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let client = if upgraded { context.upgrade.lock().take() } else { None };
    if let Some(client) = client {
        let kubelet = hyper::upgrade::on(&mut response);
        let stopping = context.server.stopping.clone();
        tokio::spawn(async move {
            if let (Ok(client), Ok(kubelet)) = tokio::join!(client, kubelet) {
                let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
                let splice = tokio::io::copy_bidirectional(&mut client, &mut kubelet);
                let _ = stopping.run_until_cancelled(splice).await;
            }
        });
    }
    let (parts, body) = response.into_parts();
    let mut reply = http::Response::new(reply::boxed(body));
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = returned(parts.headers, upgraded);
    Ok(reply)
}

fn returned(mut headers: HeaderMap, upgraded: bool) -> HeaderMap {
    if !upgraded {
        HOP.iter().for_each(|name| {
            headers.remove(*name);
        });
        headers.remove(header::CONTENT_LENGTH);
    }
    headers
}
