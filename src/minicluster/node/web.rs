//! The HTTP server that stands in for any image: it says which pod answered.
//!
//! [`respond`] is pure; the listeners around it are one task per port and one per connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::logs::Log;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 256;
/// How long connections get to finish their requests when a pod stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What a pod says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Name of the pod.
    pub(crate) pod: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its node.
    pub(crate) node: String,
    /// Zone of the node.
    pub(crate) zone: String,
    /// Region of the node.
    pub(crate) region: String,
    /// The cluster.
    pub(crate) cluster: String,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Content type.
    pub(crate) content_type: &'static str,
    /// Body.
    pub(crate) body: String,
    /// How long to wait before it is sent.
    pub(crate) delay: Duration,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The answer to a request: `/healthz` says ok, `/echo` shows the request's headers, `/status/N`
/// answers with status N, `/delay/MS` waits; everything else says who answers.
pub(crate) fn respond(facts: &Facts, method: &str, path: &str, headers: &HeaderMap) -> Answer {
    let answer = |content_type, body| Answer {
        status: 200,
        content_type,
        body,
        delay: Duration::ZERO,
    };
    let route = path.split('?').next().unwrap_or(path);
    if route == "/healthz" {
        return answer(TEXT, "ok\n".into());
    }
    if route == "/echo" {
        return answer(JSON, format!("{}\n", echo(facts, method, path, headers)));
    }
    let mut identity = match headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()) {
        Some(accept) if accept.contains(JSON) => answer(JSON, format!("{}\n", Value::Object(fields(facts)))),
        _ => answer(TEXT, lines(facts)),
    };
    if let Some(status) = route.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
        identity.status = if (200..=599).contains(&status) { status } else { 400 };
    }
    if let Some(delay) = route.strip_prefix("/delay/").and_then(|delay| delay.parse().ok()) {
        identity.delay = Duration::from_millis(delay).min(Duration::from_secs(300));
    }
    identity
}

fn pairs(facts: &Facts) -> [(&'static str, &str); 6] {
    [
        ("pod", &facts.pod),
        ("namespace", &facts.namespace),
        ("node", &facts.node),
        ("zone", &facts.zone),
        ("region", &facts.region),
        ("cluster", &facts.cluster),
    ]
}

fn lines(facts: &Facts) -> String {
    pairs(facts)
        .iter()
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect()
}

fn fields(facts: &Facts) -> Map<String, Value> {
    pairs(facts)
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect()
}

fn echo(facts: &Facts, method: &str, path: &str, headers: &HeaderMap) -> Value {
    let mut seen = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        seen.insert(name.to_string(), values.join(", ").into());
    }
    let mut echo = fields(facts);
    echo.extend([
        ("method".into(), json!(method)),
        ("path".into(), json!(path)),
        ("headers".into(), seen.into()),
    ]);
    Value::Object(echo)
}

/// Binds an address to listen on.
///
/// # Errors
/// The address is taken, not local, or its port needs a privilege.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Connections of the last run in TIME_WAIT must not keep the address busy.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves on a listener until `stop`; connections then get a moment to finish.
pub(crate) fn serve(listener: TcpListener, facts: Arc<Facts>, log: Arc<Log>, stop: CancellationToken) {
    tokio::spawn(async move {
        let server = auto::Builder::new(TokioExecutor::new());
        let graceful = GracefulShutdown::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, client)) = accepted else {
                // Out of file descriptors, mostly: others must end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Answers are small and complete: there is nothing to wait for.
            let _ = stream.set_nodelay(true);
            let (facts, log) = (facts.clone(), log.clone());
            let service = service_fn(move |request| handle(facts.clone(), log.clone(), client, request));
            let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service).into_owned());
            tokio::spawn(connection);
        }
        drop(listener);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    });
}

async fn handle(
    facts: Arc<Facts>,
    log: Arc<Log>,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let answer = respond(&facts, request.method().as_str(), &path, request.headers());
    log.note(format!(
        "{} \"{} {path}\" {}",
        client.ip(),
        request.method(),
        answer.status
    ));
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(answer.content_type),
    );
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let text = |text: &str| text.to_owned();
        Facts {
            pod: text("web-1"),
            namespace: text("default"),
            node: text("n1"),
            zone: text("z"),
            region: text("r"),
            cluster: text("us"),
        }
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(
            header::HeaderName::from_static(name),
            header::HeaderValue::from_static(value),
        )]
        .into_iter()
        .collect()
    }

    #[test]
    fn plain_text_says_who_answers_one_fact_a_line() {
        let answer = respond(&facts(), "GET", "/any?x=1", &HeaderMap::new());
        assert_eq!(
            answer.body,
            "pod: web-1\nnamespace: default\nnode: n1\nzone: z\nregion: r\ncluster: us\n"
        );
    }

    #[test]
    fn json_is_given_to_who_asks_for_it() {
        let answer = respond(&facts(), "GET", "/", &headers("accept", "application/json"));
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.content_type, &value["cluster"]), (JSON, &json!("us")));
    }

    #[test]
    fn paths_choose_health_echo_status_and_delay() {
        assert_eq!(respond(&facts(), "GET", "/healthz", &HeaderMap::new()).body, "ok\n");
        let echo = respond(&facts(), "POST", "/echo?a=b", &headers("x-forwarded-for", "127.2.0.1"));
        let echo: Value = serde_json::from_str(&echo.body).unwrap();
        assert_eq!(
            (&echo["headers"]["x-forwarded-for"], &echo["method"], &echo["path"]),
            (&json!("127.2.0.1"), &json!("POST"), &json!("/echo?a=b"))
        );
        assert_eq!(respond(&facts(), "GET", "/status/503", &HeaderMap::new()).status, 503);
        assert_eq!(respond(&facts(), "GET", "/status/42", &HeaderMap::new()).status, 400);
        assert_eq!(
            respond(&facts(), "GET", "/delay/20", &HeaderMap::new()).delay,
            Duration::from_millis(20)
        );
    }
}
