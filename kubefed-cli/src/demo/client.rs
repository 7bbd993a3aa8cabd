//! Clients out in the world: requests from a given source address, one after the other, and a record of who answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// An answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The value of a `key: value` line of a pod's answer.
pub(crate) fn field<'a>(body: &'a str, key: &str) -> Option<&'a str> {
    body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// One GET on a connection of its own, from a source address; at most five seconds.
pub(crate) async fn get(source: &str, url: &str) -> anyhow::Result<Answer> {
    let authority = url.strip_prefix("http://").context("only http:// is understood")?;
    let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
    let target: SocketAddr = authority
        .parse()
        .with_context(|| format!("{authority} is not an address and a port"))?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.parse()?, 0))?;
        let mut stream = socket.connect(target).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), exchange)
        .await
        .context("no answer within 5 s")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else {
        bail!("not an HTTP answer: {head}")
    };
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

/// What a client saw.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) at: Instant,
    /// The cluster that answered, or what went wrong.
    pub(crate) outcome: Result<String, String>,
}

/// A client that asks again and again until it is stopped.
pub(crate) struct Visitor {
    seen: Arc<Mutex<Vec<Observation>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Visitor {
    pub(crate) fn start(source: &'static str, url: String) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let outcome = match get(source, &url).await {
                    Ok(answer) if answer.status == 200 => {
                        field(&answer.body, "cluster").map(str::to_owned).ok_or(answer.body)
                    }
                    Ok(answer) => Err(format!("status {}: {}", answer.status, answer.body)),
                    Err(error) => Err(format!("{error:#}")),
                };
                log.lock().unwrap_or_else(PoisonError::into_inner).push(Observation {
                    at: Instant::now(),
                    outcome,
                });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { seen, task }
    }

    /// What it saw so far.
    pub(crate) fn observations(&self) -> Vec<Observation> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
