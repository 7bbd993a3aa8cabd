//! The load balancer against a scripted federation API.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use apimachinery::Object;
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use clap::Parser as _;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};

use super::support::{Balancer, Cli, Endpoint, eventually, world};

/// Collections by plural name, writes seen, and watch events to come.
struct Api {
    objects: Mutex<BTreeMap<String, Vec<Object>>>,
    writes: Mutex<Vec<(Method, String, Object)>>,
    changes: broadcast::Sender<(String, Object)>,
}

fn plural(kind: &str) -> String {
    match kind {
        "IngressClass" => "ingressclasses".to_owned(),
        "Ingress" => "ingresses".to_owned(),
        kind => kind.to_lowercase() + "s",
    }
}

impl Api {
    fn new(objects: Vec<Object>) -> Arc<Self> {
        let mut known: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for object in objects {
            known
                .entry(plural(object["kind"].as_str().expect("a kind")))
                .or_default()
                .push(object);
        }
        Arc::new(Self {
            objects: Mutex::new(known),
            writes: Mutex::default(),
            changes: broadcast::channel(64).0,
        })
    }

    /// Serves at an address; dropping what is returned stops it and its connections.
    async fn serve(self: &Arc<Self>, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a free address");
        let listener: TcpListener = socket.listen(64).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/{*path}", axum::routing::any(answer))
            .with_state(Arc::clone(self));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                open.spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                    let _ = builder
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (address, task)
    }

    fn change(&self, event: &str, object: Object) {
        let event = json!({"type": event, "object": object});
        let _ = self
            .changes
            .send((plural(event["object"]["kind"].as_str().expect("a kind")), event));
    }

    /// Waits for a write that `wanted` accepts.
    async fn written(&self, what: &str, wanted: impl Fn(&Method, &str, &Object) -> bool) -> Object {
        eventually(what, || {
            let found = self
                .writes
                .lock()
                .iter()
                .find(|(method, path, body)| wanted(method, path, body))
                .map(|write| write.2.clone());
            async move { found }
        })
        .await
    }
}

async fn answer(
    State(api): State<Arc<Api>>,
    Path(path): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    if request.method() != Method::GET {
        let method = request.method().clone();
        let body = request
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let body: Object = serde_json::from_slice(&body).unwrap_or_default();
        api.writes.lock().push((method, path, body.clone()));
        return axum::Json(body).into_response();
    }
    let plural = path.rsplit('/').next().unwrap_or_default().to_owned();
    if query.contains_key("sendInitialEvents") {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422, "message": "not here"});
        return (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(status)).into_response();
    }
    if query.contains_key("watch") {
        let events = tokio_stream::wrappers::BroadcastStream::new(api.changes.subscribe());
        let lines = events.filter_map(move |event| {
            let line = event
                .ok()
                .filter(|(of, _)| *of == plural)
                .map(|(_, event)| Ok::<_, std::io::Error>(format!("{event}\n")));
            async move { line }
        });
        return Body::from_stream(lines).into_response();
    }
    let items = api.objects.lock().get(&plural).cloned().unwrap_or_default();
    axum::Json(json!({"kind": "List", "metadata": {"resourceVersion": "10"}, "items": items})).into_response()
}

fn with_versions(mut objects: Vec<Object>) -> Vec<Object> {
    for (version, object) in objects.iter_mut().enumerate() {
        object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    }
    objects
}

async fn balancer(dir: &std::path::Path, server: SocketAddr) -> Balancer {
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "f",
        "clusters": [{"name": "f", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "f", "context": {"cluster": "f", "user": "f"}}],
        "users": [{"name": "f", "user": {}}]});
    let file = dir.join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).expect("a file");
    let flags = [
        "lb".to_owned(),
        format!("--kubeconfig={}", file.display()),
        format!("--data-dir={}", dir.join("data").display()),
        "--http-bind-address=127.0.0.1:0".to_owned(),
        "--metrics-bind-address=127.0.0.1:0".to_owned(),
        "--publish-status-address=203.0.113.9:8080".to_owned(),
        "--access-log=off".to_owned(),
        "--workers=1".to_owned(),
    ];
    Balancer::of(
        crate::start(Cli::parse_from(flags).args)
            .await
            .expect("a running load balancer"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_federation_api_is_served_reported_to_and_survived() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start("eu").await);
    let api = Api::new(with_versions(world(&[("us", &[us.address])])));
    let (address, serving) = api.serve("127.0.0.1:0".parse().expect("an address")).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lb = balancer(dir.path(), address).await;
    let served_by = async |lb: &Balancer, name: &str| {
        eventually(name, || async {
            let answer = lb.get("127.2.0.1", "/").await;
            (answer.status == 200 && answer.endpoint() == name).then_some(())
        })
        .await;
    };
    served_by(&lb, "us").await;
    let status = api
        .written("the status", |method, path, _| {
            *method == Method::PATCH && path.ends_with("ingresses/web/status")
        })
        .await;
    assert_eq!(
        status["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "203.0.113.9", "ports": [{"port": 8080, "protocol": "TCP"}]}])
    );

    let mut nearer = world(&[("eu", &[eu.address])])
        .into_iter()
        .find(|object| object["kind"] == "EndpointSlice")
        .expect("a slice");
    nearer["metadata"]["resourceVersion"] = "11".into();
    api.change("ADDED", nearer);
    served_by(&lb, "eu").await;

    let mut broken = world(&[]).pop().expect("an Ingress");
    broken["metadata"]["name"] = "broken".into();
    broken["metadata"]["resourceVersion"] = "12".into();
    broken["spec"]["rules"][0]["host"] = "broken.example".into();
    broken["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "nothing".into();
    api.change("ADDED", broken);
    let event = api
        .written("the event", |method, path, _| {
            *method == Method::POST && path.ends_with("events")
        })
        .await;
    assert_eq!(
        (event["type"].as_str(), event["reason"].as_str()),
        (Some("Warning"), Some("ServiceNotFound"))
    );
    assert_eq!(event["involvedObject"]["name"], "broken");

    serving.abort();
    let _ = serving.await;
    assert_eq!(lb.get("127.2.0.1", "/").await.endpoint(), "eu", "the API is away");
    lb.running.stop().await;
    let lb = balancer(dir.path(), address).await;
    assert_eq!(
        lb.get("127.2.0.1", "/").await.endpoint(),
        "eu",
        "still away after a restart"
    );
    tokio::time::timeout(Duration::from_secs(10), lb.running.stop())
        .await
        .expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_all_load_balancers_are_published_and_removed_when_an_ingress_leaves_the_class() {
    let eu = Endpoint::start("eu").await;
    let mut objects = world(&[("eu", &[eu.address])]);
    let mut left = objects.last().cloned().expect("an Ingress");
    left["metadata"]["name"] = "left".into();
    left["spec"]["ingressClassName"] = "nginx".into();
    left["status"]["loadBalancer"]["ingress"] = json!([{"ip": "203.0.113.1"}, {"hostname": "nginx.example"}]);
    objects.push(left);
    objects.push(json!({"kind": "Lease",
        "metadata": {"namespace": "kube-system", "name": "federation-lb-other",
            "annotations": {"federation.kubernetes.io/load-balancer-addresses": r#"[{"ip":"203.0.113.1"}]"#}},
        "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}));
    let api = Api::new(with_versions(objects));
    let (address, _serving) = api.serve("127.0.0.1:0".parse().expect("an address")).await;
    let dir = tempfile::tempdir().expect("a directory");
    let lb = balancer(dir.path(), address).await;
    let status_of = async |name: &str| {
        let path = format!("ingresses/{name}/status");
        let written = api
            .written(name, |method, written, _| {
                *method == Method::PATCH && written.ends_with(&path)
            })
            .await;
        written["status"]["loadBalancer"]["ingress"].clone()
    };
    assert_eq!(
        status_of("web").await,
        json!([{"ip": "203.0.113.1"}, {"ip": "203.0.113.9", "ports": [{"port": 8080, "protocol": "TCP"}]}])
    );
    assert_eq!(status_of("left").await, json!([{"hostname": "nginx.example"}]));
    let lease = api
        .written("our Lease", |method, path, _| {
            *method == Method::PATCH && path.contains("namespaces/kube-system/leases/federation-lb-")
        })
        .await;
    assert_eq!(
        lease["metadata"]["labels"]["federation.kubernetes.io/load-balancer"],
        "true"
    );
    lb.running.stop().await;
}
