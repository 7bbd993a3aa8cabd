//! Clients, endpoints and configurations for journeys.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use apimachinery::Object;
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::{Args, Running, model::Objects, watch};

/// Longest any step may take; a step that needs longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The clusters of all journeys and their regions.
pub(super) const CLUSTERS: [(&str, &str); 3] = [
    ("eu", "europe-west1"),
    ("tok", "asia-northeast1"),
    ("us", "us-central1"),
];

/// An endpoint that echoes requests as JSON.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// Connections it accepted.
    pub(super) connections: Arc<AtomicUsize>,
    /// Requests it saw.
    pub(super) requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    /// Ends when the last connection has.
    closed: tokio::sync::mpsc::Receiver<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    /// An endpoint named `name`.
    pub(super) async fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().expect("an address"), 200).await
    }

    /// An endpoint that answers with `status`.
    pub(super) async fn start_at(name: &str, address: SocketAddr, status: u16) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a free address");
        let listener = socket.listen(64).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let name: Arc<str> = name.into();
        let counted = (Arc::clone(&connections), Arc::clone(&requests));
        let (alive, closed) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(async move {
            // Dropped with the task, so that stopping an endpoint closes its connections.
            let mut open = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                counted.0.fetch_add(1, Relaxed);
                let (name, requests, alive) = (Arc::clone(&name), Arc::clone(&counted.1), alive.clone());
                open.spawn(async move {
                    // Dropped after the stream.
                    let _alive = alive;
                    let service =
                        service_fn(move |request| echo(Arc::clone(&name), Arc::clone(&requests), status, request));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            connections,
            requests,
            task,
            closed,
        }
    }

    /// Stops it and its connections, as a crash would.
    pub(super) async fn kill(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        // Connections end a moment after they are told to.
        let _ = self.closed.recv().await;
        self.address
    }
}

async fn echo(
    name: Arc<str>,
    requests: Arc<AtomicUsize>,
    status: u16,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // The load balancer's own questions do not count.
    if request
        .headers()
        .get("user-agent")
        .is_none_or(|agent| agent != "kubefed-lb/health")
    {
        requests.fetch_add(1, Relaxed);
    }
    let (parts, body) = request.into_parts();
    let headers: serde_json::Map<String, Object> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let told = json!({"endpoint": *name, "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers,
        "version": format!("{:?}", parts.version), "length": body.len(), "body": String::from_utf8_lossy(&body[..body.len().min(1000)])});
    let mut response = Response::new(Full::new(Bytes::from(told.to_string())));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    Ok(response)
}

/// An endpoint that answers each connection with what `script` makes of it.
pub(super) async fn scripted<F, Fut>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let _ = script(stream).await;
            });
        }
    });
    address
}

/// A listener whose queue is full drops connections without a word, as a machine that was cut off does.
pub(super) fn full_listener() -> (SocketAddr, Vec<socket2::Socket>) {
    let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let listener = tcp();
    listener
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .and_then(|()| listener.listen(0))
        .expect("a listener");
    let address = listener
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("an address");
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let socket = tcp();
        socket.set_nonblocking(true).expect("an option");
        let _ = socket.connect(&address.into());
        sockets.push(socket);
    }
    (address, sockets)
}

/// Reads a request's head.
pub(super) async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Objects: the clusters, a service `web` with endpoints per cluster, and an Ingress for `web.example`.
pub(super) fn world(endpoints: &[(&str, &[SocketAddr])]) -> Vec<Object> {
    let mut all: Vec<Object> = CLUSTERS
        .iter()
        .map(|(name, region)| json!({"kind": "Cluster", "metadata": {"name": name}, "status": {"region": region}}))
        .collect();
    all.push(json!({"kind": "Service", "metadata": {"namespace": "default", "name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}}));
    for (cluster, addresses) in endpoints {
        for (index, address) in addresses.iter().enumerate() {
            all.push(json!({"kind": "EndpointSlice",
                "metadata": {"namespace": "default", "name": format!("web-{cluster}-{index}"),
                    "labels": {"kubernetes.io/service-name": "web", "federation.kubernetes.io/cluster": cluster}},
                "ports": [{"name": "http", "port": address.port()}],
                "endpoints": [{"addresses": [address.ip().to_string()]}]}));
        }
    }
    all.push(
        json!({"kind": "Ingress", "metadata": {"namespace": "default", "name": "web", "uid": "u"},
        "spec": {"rules": [{"host": "web.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
    );
    all
}

/// Sets an annotation of the service of a [`world`].
pub(super) fn annotate(objects: &mut [Object], key: &str, value: &str) {
    let service = objects
        .iter_mut()
        .find(|object| object["kind"] == "Service")
        .expect("a service");
    service["metadata"]["annotations"][key] = value.into();
}

pub(super) fn objects(all: &[Object]) -> Objects {
    let mut objects = Objects::default();
    for object in all {
        let meta = &object["metadata"];
        let name = meta["name"].as_str().expect("a name");
        let key = meta["namespace"]
            .as_str()
            .map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"));
        let of_kind = match object["kind"].as_str().expect("a kind") {
            "Ingress" => &mut objects.ingresses,
            "IngressClass" => &mut objects.classes,
            "Service" => &mut objects.services,
            "EndpointSlice" => &mut objects.slices,
            "Cluster" => &mut objects.clusters,
            "Secret" => &mut objects.secrets,
            other => panic!("unexpected kind {other}"),
        };
        of_kind.insert(key, Arc::new(object.clone()));
    }
    objects
}

#[derive(Parser)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) args: Args,
}

/// A load balancer under test.
pub(super) struct Balancer {
    pub(super) running: Running,
    pub(super) http: SocketAddr,
    dir: tempfile::TempDir,
}

impl Balancer {
    /// Serves `world` with further flags.
    pub(super) async fn start(world: &[Object], flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("objects.json");
        std::fs::write(&file, serde_json::to_vec(&objects(world)).expect("JSON")).expect("a file");
        let log = dir.path().join("access.log");
        let given = [
            "lb".to_owned(),
            format!("--config-file={}", file.display()),
            "--http-bind-address=127.0.0.1:0".to_owned(),
            "--https-bind-address=127.0.0.1:0".to_owned(),
            "--metrics-bind-address=127.0.0.1:0".to_owned(),
            "--workers=1".to_owned(),
            "--health-check-interval=200ms".to_owned(),
            "--return-ramp=1ms".to_owned(),
            format!("--access-log={}", log.display()),
        ];
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let own = given
            .into_iter()
            .filter(|flag| !flags.iter().any(|other| name(other) == name(flag)));
        let flags = own.chain(flags.iter().map(|flag| (*flag).to_owned()));
        let running = crate::start(Cli::parse_from(flags).args)
            .await
            .expect("a running load balancer");
        Self {
            http: running.http[0],
            running,
            dir,
        }
    }

    /// One that was started otherwise.
    pub(super) fn of(running: Running) -> Self {
        Self {
            http: running.http[0],
            running,
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Serves something else from now on.
    pub(super) fn publish(&self, world: &[Object]) {
        watch::publish(&self.running.shared, &objects(world));
    }

    /// Lines of the access log that `wanted` accepts, as soon as there is one.
    pub(super) async fn logged(&self, wanted: impl Fn(&Object) -> bool) -> Object {
        let path = self.dir.path().join("access.log");
        eventually("a line in the access log", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Object>(line).ok());
            let found = lines.find(&wanted);
            async move { found }
        })
        .await
    }

    /// A connection from an address of a client network, as `127.2.0.1` for Europe.
    pub(super) async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::new(source.parse().expect("an address"), 0))
            .expect("a source address");
        socket.connect(self.http).await.expect("a connection")
    }

    /// A whole exchange on a connection of its own.
    pub(super) async fn exchange(&self, source: &str, request: &str) -> Answer {
        let mut stream = self.connect_from(source).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        Answer::read(&mut stream).await.expect("an answer")
    }

    /// A GET of `web.example`.
    pub(super) async fn get(&self, source: &str, path: &str) -> Answer {
        self.exchange(source, &format!("GET {path} HTTP/1.1\r\nHost: web.example\r\n\r\n"))
            .await
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// Reads a response with a length, chunks, or until the end.
    pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<Self> {
        let reading = async {
            let head = read_head(stream).await?.to_ascii_lowercase();
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .expect("a status line");
            let field = |name: &str| {
                head.lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
            };
            let mut body = Vec::new();
            if let Some(length) = field("content-length") {
                body = vec![0; length.parse().expect("a length")];
                stream.read_exact(&mut body).await?;
            } else if field("transfer-encoding").is_some() {
                loop {
                    let mut line = Vec::new();
                    while !line.ends_with(b"\r\n") {
                        line.push(stream.read_u8().await?);
                    }
                    let size =
                        usize::from_str_radix(std::str::from_utf8(&line).expect("text").trim(), 16).expect("a size");
                    let mut chunk = vec![0; size + 2];
                    stream.read_exact(&mut chunk).await?;
                    if size == 0 {
                        break;
                    }
                    body.extend(&chunk[..size]);
                }
            } else if status >= 200 && status != 204 && status != 304 {
                stream.read_to_end(&mut body).await?;
            }
            Ok(Self {
                status,
                head,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("an answer in time")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The echo of an [`Endpoint`].
    pub(super) fn echo(&self) -> Object {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("an echo, not {self:?}"))
    }

    /// The endpoint that answered.
    pub(super) fn endpoint(&self) -> String {
        self.echo()["endpoint"].as_str().expect("a name").to_owned()
    }
}

/// Asks again and again until there is an answer.
pub(super) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come about"))
}
