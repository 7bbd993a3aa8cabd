//! Watches over WebSocket: a text frame per event, as browsers' clients want them.

use apimachinery::status::Status;
use axum::extract::{
    FromRequestParts,
    ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Request, header};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    errors,
    reply::{self, Reply},
};

/// Whether the request asks for a WebSocket.
#[must_use]
pub fn is_wanted(context: &Context) -> bool {
    let has = |name, token: &str| {
        context
            .header(name)
            .to_ascii_lowercase()
            .split(',')
            .any(|t| t.trim() == token)
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers with a WebSocket that sends these frames and is closed when they end.
///
/// # Errors
/// 400 for a malformed handshake.
pub async fn send(context: &Context, frames: impl Stream<Item = Bytes> + Send + 'static) -> Result<Reply, Status> {
    if context.header(header::ORIGIN).is_empty() {
        // The handshake that kube-apiserver uses refuses clients that do not tell where they come from.
        return Ok(reply::text(403, Bytes::new()));
    }
    let mut request = Request::new(());
    *request.method_mut() = context.method.clone();
    *request.headers_mut() = context.headers.clone();
    if let Some(upgrade) = context.upgrade.lock().take() {
        request.extensions_mut().insert(upgrade);
    }
    let (mut parts, ()) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| errors::bad_request(rejection.to_string()))?;
    let stopping = context.server.stopping.clone();
    let response = upgrade.on_upgrade(move |socket| pump(socket, frames, stopping));
    Ok(response.map(reply::boxed))
}

async fn pump(mut socket: WebSocket, frames: impl Stream<Item = Bytes> + Send, stopping: CancellationToken) {
    let mut frames = std::pin::pin!(frames.take_until(stopping.cancelled_owned()));
    loop {
        tokio::select! {
            frame = frames.next() => {
                let Some(frame) = frame else { break };
                let Ok(text) = String::from_utf8(frame.to_vec()) else { break };
                if socket.send(Message::Text(text.trim_end().to_owned().into())).await.is_err() {
                    return;
                }
            }
            // Pings are answered while reading; nothing else is expected of the client.
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    let _ = socket
        .send(Message::Close(Some(CloseFrame {
            code: close_code::NORMAL,
            reason: "".into(),
        })))
        .await;
}
