//! Switching protocols, as WebSocket does: a tunnel is opened when, and only when, the endpoint answers 101.

use bytes::Buf as _;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};

use super::{response::ResponseBody, ticket::Ticket};
use crate::upstream::Exchange;

/// A client's wish to switch.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What it wants to switch to.
    pub(super) protocol: HeaderValue,
    client: OnUpgrade,
}

/// The wish of a request, if it has one. Only HTTP/1.1 can switch, and never to HTTP/2.
pub(super) fn wanted(request: &mut Request<Incoming>) -> Option<Upgrade> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let protocol = request.headers().get(header::UPGRADE)?.clone();
    let asks = request.headers().get_all(header::CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    if !asks || protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2") {
        return None;
    }
    Some(Upgrade {
        protocol,
        client: hyper::upgrade::on(request),
    })
}

/// Answers 101 and joins both sides. Without a wish there is no tunnel, and the ticket comes back.
pub(super) fn tunnel(
    wish: Option<Upgrade>,
    exchange: Exchange,
    response: &mut Response<()>,
    ticket: Box<Ticket>,
) -> Result<ResponseBody, Box<Ticket>> {
    let Some(wish) = wish else { return Err(ticket) };
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    let (mut endpoint, already_read) = exchange.into_upgraded();
    let worker = std::sync::Arc::clone(&ticket.worker);
    tokio::spawn(async move {
        // The ticket lives as long as the tunnel: it is one request in logs, metrics and draining.
        let mut ticket = ticket;
        let joined = async {
            let mut client = TokioIo::new(wish.client.await.map_err(std::io::Error::other)?);
            if already_read.has_remaining() {
                client.write_all(&already_read).await?;
            }
            copy_bidirectional(&mut client, &mut endpoint).await
        };
        tokio::select! {
            result = joined => match result {
                Ok((_, sent)) => ticket.sent = sent + already_read.len() as u64,
                Err(error) => ticket.error = Some(error.to_string()),
            },
            () = worker.shared.killed.cancelled() => ticket.error = Some("the load balancer stopped".to_owned()),
        }
    });
    Ok(ResponseBody::switched())
}
