//! A server in this process, and a client that speaks plain HTTP to it.

use std::{path::Path, time::Duration};

use apiserver::{Args, Profile, Running};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Nothing that is waited for takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that stops when the test is over.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) running: Running,
    pub(crate) stop: CancellationToken,
    pub(crate) directory: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Cluster {
    pub(crate) async fn start(profile: Profile) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), profile).await
    }

    pub(crate) async fn start_in(directory: tempfile::TempDir, profile: Profile) -> Self {
        let tokens = directory.path().join("tokens.csv");
        std::fs::write(&tokens, "bobtoken,bob,bob-uid\n").unwrap();
        let args = Args::parse_line([
            format!("--data-dir={}", directory.path().display()),
            "--secure-port=0".to_owned(),
            format!("--token-auth-file={}", tokens.display()),
        ])
        .unwrap();
        let stop = CancellationToken::new();
        let running = apiserver::start(args, profile, stop.clone()).await.unwrap();
        let client = Client::try_from(config(&running.admin_kubeconfig).await).unwrap();
        Self {
            client,
            running,
            stop,
            directory,
        }
    }

    /// Stops the server and gives its directory back.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        drop(self.client);
        tokio::time::timeout(PATIENCE, self.running.done)
            .await
            .unwrap()
            .unwrap();
        self.directory
    }

    /// The same server as somebody else.
    pub(crate) async fn with_token(&self, token: &str) -> Client {
        let mut config = config(&self.running.admin_kubeconfig).await;
        config.auth_info.client_certificate_data = None;
        config.auth_info.client_key_data = None;
        config.auth_info.token = (!token.is_empty()).then(|| token.to_owned().into());
        Client::try_from(config).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(&self.client, Method::GET, path, "", Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(&self.client, Method::DELETE, path, "", Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        send(&self.client, Method::POST, path, "application/json", object.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        send(&self.client, Method::PUT, path, "application/json", object.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, content_type: &str, patch: &Value) -> Answer {
        send(&self.client, Method::PATCH, path, content_type, patch.to_string()).await
    }

    /// The events of a watch, as they come.
    pub(crate) async fn watch(&self, path: &str) -> BoxStream<'static, Value> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.client.send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let mut rest = Vec::new();
        let frames = response.into_body().into_data_stream();
        frames
            .flat_map(move |frame| {
                rest.extend_from_slice(&frame.unwrap());
                let mut lines = Vec::new();
                while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    lines.push(serde_json::from_slice(&line).unwrap());
                }
                futures::stream::iter(lines)
            })
            .boxed()
    }

    /// Reads a path until its answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stays {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn config(path: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap()
}

pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Body::from(body.into().to_vec())).unwrap();
    let response = client.send(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        code: parts.status,
        headers: parts.headers,
        body,
    }
}

/// The next event, or nothing if the watch ended.
pub(crate) async fn next(events: &mut BoxStream<'static, Value>) -> Option<Value> {
    tokio::time::timeout(PATIENCE, events.next())
        .await
        .expect("an event, or the end, in time")
}
