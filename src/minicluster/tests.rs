use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;

use super::*;

/// Waits until `probe` gives something; says what it waited for if that takes too long.
async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("timed out: {what}"))
}

struct Cluster {
    dir: tempfile::TempDir,
    client: Client,
    shutdown: CancellationToken,
    running: Running,
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

async fn start_in(dir: &Path, nodes: u32) -> (Running, Client, CancellationToken) {
    let words = ["minicluster", "--name=us", "--region=us-east1", "--zone=us-east1-b"].map(str::to_owned);
    let more = [format!("--data-dir={}", dir.display()), format!("--nodes={nodes}")];
    let args = Cli::try_parse_from(words.into_iter().chain(more)).unwrap().args;
    let shutdown = CancellationToken::new();
    let running = start(args, shutdown.clone()).await.unwrap();
    let client = Client::try_from(config(&running.admin_kubeconfig).await.unwrap()).unwrap();
    (running, client, shutdown)
}

impl Cluster {
    async fn start(nodes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (running, client, shutdown) = start_in(dir.path(), nodes).await;
        Self {
            dir,
            client,
            shutdown,
            running,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn ready_pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default().labels(selector))
            .await
            .unwrap();
        pods.items
            .into_iter()
            .filter(|pod| crate::pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none())
            .collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.done.await.unwrap();
        drop(self.dir);
    }
}

fn deployment(name: &str, replicas: i32, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    }))
    .unwrap()
}

async fn get(address: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_deployment_run_and_answer() {
    let cluster = Cluster::start(3).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 3);
    cluster
        .api::<Deployment>()
        .create(&PostParams::default(), &deployment("web", 5, "nginx:1"))
        .await
        .unwrap();
    let pods = eventually("5 ready pods", || async {
        Some(cluster.ready_pods("app=web").await).filter(|pods| pods.len() == 5)
    })
    .await;
    for pod in &pods {
        let answer = get(&format!("{}:8080", crate::pods::pod_ip(pod).unwrap()))
            .await
            .unwrap();
        assert!(
            answer.contains(&format!("pod: {}", pod.metadata.name.as_deref().unwrap())),
            "{answer}"
        );
        assert!(answer.contains("region: us-east1\n"), "{answer}");
    }
    cluster.stop().await;
}
