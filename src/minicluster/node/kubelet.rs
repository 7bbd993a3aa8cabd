//! The kubelet API on every node's address: the logs of containers, for `kubectl logs`.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{StreamExt as _, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};
use tokio_util::sync::CancellationToken;

use super::{
    agent::Agent,
    logs::{Line, Log},
    registry::{KUBELET_PORT, Registry},
    web,
};
use crate::informer::Key;

/// Why the kubelet API could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate.
    #[error("cannot make a certificate for the kubelet API")]
    Certificate(#[source] rcgen::Error),
    /// The certificate is not usable.
    #[error("cannot use the certificate of the kubelet API")]
    Tls(#[source] rustls::Error),
}

/// Which lines are asked for.
#[derive(Debug, Default, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    follow: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
}

fn is_set(flag: &Option<String>) -> bool {
    flag.as_deref().is_some_and(|flag| matches!(flag, "true" | "1" | ""))
}

/// The lines to send, rendered.
fn render(lines: &[Line], options: &Options, now: Timestamp) -> String {
    let by_seconds = options
        .since_seconds
        .and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    let since = options.since_time.or(by_seconds);
    let recent: Vec<&Line> = lines
        .iter()
        .filter(|line| since.is_none_or(|since| line.at >= since))
        .collect();
    let skip = options.tail_lines.map_or(0, |tail| recent.len().saturating_sub(tail));
    let mut text = String::new();
    for line in &recent[skip..] {
        if is_set(&options.timestamps) {
            text.push_str(&format!("{} ", line.at));
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    if let Some(limit) = options.limit_bytes
        && text.len() > limit
    {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Serves the API on every node's address, as nodes come and go.
///
/// # Errors
/// No certificate can be made.
pub(crate) fn start(agent: &Arc<Agent>, registry: &Arc<Registry>, shutdown: &CancellationToken) -> Result<(), Error> {
    let acceptor = TlsAcceptor::from(Arc::new(tls()?));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .with_state(agent.clone());
    let serving: Mutex<HashMap<String, CancellationToken>> = Mutex::default();
    let (nodes, shutdown) = (Arc::downgrade(registry), shutdown.clone());
    registry.on_change(move |name| {
        let Some(nodes) = nodes.upgrade() else { return };
        let mut serving = serving.lock();
        if let Some(stop) = serving.remove(name) {
            stop.cancel();
        }
        let Some(ip) = nodes.address(name) else { return };
        let address = SocketAddr::new(ip.into(), KUBELET_PORT);
        match web::bind(address) {
            Ok(listener) => {
                let stop = shutdown.child_token();
                tokio::spawn(serve(listener, acceptor.clone(), router.clone(), stop.clone()));
                serving.insert(name.to_owned(), stop);
            }
            Err(error) => tracing::warn!(%address, %error, "no kubelet API for node {name}"),
        }
    });
    Ok(())
}

fn tls() -> Result<rustls::ServerConfig, Error> {
    let certified = rcgen::generate_simple_self_signed(["kubelet".to_owned()]).map_err(Error::Certificate)?;
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key)
        })
        .map_err(Error::Tls)
}

async fn serve(listener: tokio::net::TcpListener, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = TowerToHyperService::new(router);
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(stream), service);
            let _ = stop.run_until_cancelled(connection).await;
        });
    }
}

async fn container_logs(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(options): Query<Options>,
) -> Response {
    let Some(log) = agent.log(&Key::new(Some(&namespace), &pod), &container) else {
        return (
            StatusCode::NOT_FOUND,
            format!("container \"{container}\" in pod \"{pod}\" is not running here"),
        )
            .into_response();
    };
    let (lines, cursor) = log.read(0).await;
    let text = render(&lines, &options, Timestamp::now());
    if !is_set(&options.follow) {
        return text.into_response();
    }
    let first = stream::once(async move { Bytes::from(text) });
    let later = stream::unfold((log.changes(), log, cursor), move |(mut changes, log, cursor)| {
        let timestamps = options.timestamps.clone();
        async move {
            let (lines, cursor) = next_lines(&mut changes, &log, cursor).await?;
            let options = Options {
                timestamps,
                ..Options::default()
            };
            Some((
                Bytes::from(render(&lines, &options, Timestamp::now())),
                (changes, log, cursor),
            ))
        }
    });
    Body::from_stream(first.chain(later).map(Ok::<_, std::convert::Infallible>)).into_response()
}

/// Waits for lines after a cursor.
async fn next_lines(
    changes: &mut tokio::sync::watch::Receiver<()>,
    log: &Arc<Log>,
    cursor: u64,
) -> Option<(Vec<Line>, u64)> {
    loop {
        let (lines, next) = log.read(cursor).await;
        if !lines.is_empty() {
            return Some((lines, next));
        }
        changes.changed().await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_lines() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let line = |second: i64, text: &str| Line {
            at: now - SignedDuration::from_secs(60 - second),
            text: text.into(),
        };
        let lines = [line(0, "one"), line(30, "two"), line(59, "three")];
        let asked = |options: Options| render(&lines, &options, now);
        assert_eq!(asked(Options::default()), "one\ntwo\nthree\n");
        assert_eq!(
            asked(Options {
                tail_lines: Some(1),
                ..Options::default()
            }),
            "three\n"
        );
        assert_eq!(
            asked(Options {
                since_seconds: Some(30),
                ..Options::default()
            }),
            "two\nthree\n"
        );
        assert_eq!(
            asked(Options {
                limit_bytes: Some(5),
                ..Options::default()
            }),
            "one\nt"
        );
        let timestamps = Some("true".to_owned());
        assert_eq!(
            asked(Options {
                timestamps,
                tail_lines: Some(1),
                ..Options::default()
            }),
            "2026-01-01T00:00:59Z three\n"
        );
    }
}
