//! A whole minicluster in this process, used as its clients use it.

use std::{collections::BTreeSet, process::Stdio};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Event, Node, Pod, Secret, Service, ServiceAccount},
};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdout, Command},
};

use super::*;

/// How long anything may take; generous, because machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `probe` gives something; says what it waited for if that takes too long.
async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("timed out: {what}"))
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

struct Cluster {
    client: Client,
    shutdown: CancellationToken,
    running: Running,
}

impl Cluster {
    async fn start(dir: &Path, nodes: u32) -> Self {
        let words = ["minicluster", "--name=us", "--region=us-east1", "--zone=us-east1-b"].map(str::to_owned);
        let more = [format!("--data-dir={}", dir.display()), format!("--nodes={nodes}")];
        let args = Cli::try_parse_from(words.into_iter().chain(more)).unwrap().args;
        let shutdown = CancellationToken::new();
        let running = start(args, shutdown.clone()).await.unwrap();
        let client = Client::try_from(config(&running.admin_kubeconfig).await.unwrap()).unwrap();
        Self {
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

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn pods(&self, selector: &str) -> Vec<Pod> {
        self.api()
            .list(&ListParams::default().labels(selector))
            .await
            .unwrap()
            .items
    }

    /// Waits until exactly `count` pods are there, and all of them ready.
    async fn ready_pods(&self, selector: &str, count: usize) -> Vec<Pod> {
        let is_serving = |pod: &Pod| pods::is_ready(pod) && !pods::is_deleting(&pod.metadata);
        eventually(&format!("{count} ready pods {selector}"), || async {
            let pods = self.pods(selector).await;
            (pods.len() == count && pods.iter().all(is_serving)).then_some(pods)
        })
        .await
    }

    async fn create<K>(&self, value: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
    {
        let object = serde_json::from_value(value).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// kubectl as the administrator.
    fn kubectl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(&self.running.admin_kubeconfig)
            .args(words);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// What kubectl prints; it must succeed.
    async fn kubectl_says(&self, words: &[&str]) -> String {
        let output = self.kubectl(words).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.done.await.unwrap();
    }
}

fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

/// Whether there is a kubectl to test with; says so if not.
async fn has_kubectl() -> bool {
    let found = Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .await
        .is_ok();
    if !found {
        eprintln!("skipped: there is no kubectl");
    }
    found
}

async fn get(address: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

fn address(pod: &Pod) -> String {
    format!("{}:8080", pods::pod_ip(pod).unwrap())
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_deployment_answer_roll_and_scale() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    cluster.create::<Deployment>(deployment("web", 5, "nginx:1")).await;
    let pods = cluster.ready_pods("app=web", 5).await;
    for pod in &pods {
        let answer = get(&address(pod)).await.unwrap();
        assert!(answer.contains(&format!("pod: {}\n", name(pod))), "{answer}");
        assert!(
            answer.contains("zone: us-east1-b\nregion: us-east1\ncluster: us\n"),
            "{answer}"
        );
    }
    let nodes: BTreeSet<_> = pods
        .iter()
        .map(|pod| pods::node_name(pod).unwrap().to_owned())
        .collect();
    assert_eq!(nodes.len(), 3, "pods are spread over the nodes");
    let log = cluster
        .api::<Pod>()
        .logs(&name(&pods[0]), &LogParams::default())
        .await
        .unwrap();
    assert!(log.contains("\"GET /\" 200"), "{log}");

    cluster.patch::<Deployment>("web", json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2", "ports": [{"containerPort": 8080}]}]}}}})).await;
    eventually("the rollout", || async {
        let pods = cluster.pods("app=web").await;
        let new = |pod: &Pod| {
            pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("nginx:2") && pods::is_ready(pod)
        };
        (pods.len() == 5 && pods.iter().all(new)).then_some(())
    })
    .await;
    for pod in &pods {
        assert_eq!(get(&address(pod)).await, None, "a pod that is gone does not listen");
    }
    cluster
        .patch::<Deployment>("web", json!({"spec": {"replicas": 2}}))
        .await;
    cluster.ready_pods("app=web", 2).await;
    eventually("the status", || async {
        let status = cluster.api::<Deployment>().get("web").await.unwrap().status.unwrap();
        let complete = status
            .conditions
            .iter()
            .flatten()
            .any(|held| held.reason.as_deref() == Some("NewReplicaSetAvailable"));
        (status.available_replicas == Some(2) && status.replicas == Some(2) && complete).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_reaches_ready_pods_only() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 2).await;
    cluster.create::<Deployment>(deployment("web", 3, "nginx")).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 8080}]}});
    cluster.create::<Service>(service).await;
    let pods = cluster.ready_pods("app=web", 3).await;
    let service = eventually("a load balancer address", || async {
        let service = cluster.api::<Service>().get("web").await.unwrap();
        service
            .status
            .as_ref()?
            .load_balancer
            .as_ref()?
            .ingress
            .as_ref()?
            .first()?
            .ip
            .clone()
            .map(|ip| (ip, service))
    });
    let (ip, service) = service.await;
    let spec = service.spec.unwrap();
    let node = cluster.nodes().get("us-node-1").await.unwrap();
    let node = node.status.unwrap().addresses.unwrap()[0].address.clone();
    let node_port = spec.ports.unwrap()[0].node_port.unwrap();
    let entries = [
        format!("{ip}:8080"),
        format!("{}:8080", spec.cluster_ip.unwrap()),
        format!("{node}:{node_port}"),
    ];
    for entry in &entries {
        let reached = reach(entry, 3).await;
        assert_eq!(reached, pods.iter().map(name).collect(), "through {entry}");
    }
    // A pod that is not ready any more gets no new connection.
    cluster
        .patch::<Pod>(
            &name(&pods[0]),
            json!({"metadata": {"annotations": {"minicluster.kubefed.io/ready": "false"}}}),
        )
        .await;
    let left: BTreeSet<_> = pods[1..].iter().map(name).collect();
    eventually("the unready pod to be left out", || async {
        (reach(&entries[0], 2).await == left).then_some(())
    })
    .await;
    cluster
        .api::<Deployment>()
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    eventually("connections to be refused", || async {
        get(&entries[0]).await.is_none().then_some(())
    })
    .await;
    cluster.stop().await;
}

/// The pods that so many rounds of requests reach.
async fn reach(entry: &str, pods: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..pods * 2 {
        let answer = eventually("an answer", || get(entry)).await;
        seen.extend(
            answer
                .lines()
                .find_map(|line| line.strip_prefix("pod: "))
                .map(str::to_owned),
        );
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go_and_pods_follow() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    let mut big = deployment("big", 2, "nginx");
    big["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "3"}});
    cluster.create::<Deployment>(big).await;
    let message = eventually("an unschedulable pod", || async {
        let pods = cluster.pods("app=big").await;
        pods.iter().find_map(|pod| {
            pods::condition(pod, "PodScheduled")
                .filter(|held| held.status == "False")?
                .message
                .clone()
        })
    });
    assert!(
        message
            .await
            .starts_with("0/1 nodes are available: 1 Insufficient cpu.")
    );
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "extra"}})).unwrap();
    cluster.nodes().create(&PostParams::default(), &node).await.unwrap();
    let pods = cluster.ready_pods("app=big", 2).await;
    let on_extra = pods.iter().find(|pod| pods::node_name(pod) == Some("extra")).unwrap();
    cluster
        .nodes()
        .delete("us-node-1", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the lost pod to be replaced and to wait", || async {
        let pods = cluster.pods("app=big").await;
        let waiting = pods.iter().filter(|pod| pods::node_name(pod).is_none()).count();
        (pods.len() == 2 && waiting == 1 && pods.iter().any(|pod| name(pod) == name(on_extra))).then_some(())
    })
    .await;
    assert!(get(&address(on_extra)).await.is_some());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_adds_cordons_drains_taints_and_deletes_nodes() {
    if !has_kubectl().await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    let manifest = dir.path().join("node.yaml");
    std::fs::write(&manifest, "apiVersion: v1\nkind: Node\nmetadata: {name: extra}\n").unwrap();
    cluster.kubectl_says(&["apply", "-f", manifest.to_str().unwrap()]).await;
    cluster
        .kubectl_says(&["wait", "--for=condition=Ready", "node/extra", "--timeout=60s"])
        .await;
    cluster.create::<Deployment>(deployment("web", 4, "nginx")).await;
    let all_on = async |node: &str| {
        eventually(&format!("every pod on {node}"), || async {
            let pods = cluster.pods("app=web").await;
            let fits = |pod: &Pod| pods::node_name(pod) == Some(node) && pods::is_ready(pod);
            (pods.len() == 4 && pods.iter().all(fits)).then_some(())
        })
        .await;
    };
    cluster.ready_pods("app=web", 4).await;

    cluster.kubectl_says(&["drain", "us-node-1", "--timeout=60s"]).await;
    all_on("extra").await;
    let taints = ["get", "node", "us-node-1", "-o", "jsonpath={.spec.taints[*].key}"];
    eventually("the taint of a cordoned node", || async {
        (cluster.kubectl_says(&taints).await == "node.kubernetes.io/unschedulable").then_some(())
    })
    .await;
    cluster.kubectl_says(&["uncordon", "us-node-1"]).await;
    eventually("no taint", || async {
        cluster.kubectl_says(&taints).await.is_empty().then_some(())
    })
    .await;

    cluster
        .kubectl_says(&["taint", "node", "extra", "maintenance=yes:NoExecute"])
        .await;
    all_on("us-node-1").await;
    cluster.kubectl_says(&["taint", "node", "extra", "maintenance-"]).await;

    cluster.kubectl_says(&["delete", "node", "us-node-1"]).await;
    all_on("extra").await;
    assert_eq!(
        cluster.kubectl_says(&["get", "nodes", "-o", "name"]).await,
        "node/extra\n"
    );
    cluster.stop().await;
}

/// The next line that a command prints.
async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_follows_logs_forwards_ports_and_is_told_why_it_cannot_exec() {
    if !has_kubectl().await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    cluster.create::<Deployment>(deployment("web", 1, "nginx")).await;
    let pod = cluster.ready_pods("app=web", 1).await.remove(0);
    let name = name(&pod);

    let mut forwarding = cluster.kubectl(&["port-forward", &name, ":8080"]);
    let mut forwarding = forwarding.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
    let line = next_line(&mut lines).await.unwrap();
    let local = line
        .strip_prefix("Forwarding from ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    for _ in 0..2 {
        let answer = get(local).await.unwrap();
        assert!(answer.contains(&format!("pod: {name}\n")), "{answer}");
    }
    forwarding.kill().await.unwrap();

    let refused = cluster.kubectl(&["exec", &name, "--", "true"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("nothing can be executed in it"),
        "{said}"
    );

    let mut following = cluster
        .kubectl(&["logs", "-f", "deploy/web"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let until = async |lines: &mut Lines<_>, what: &str| while !next_line(lines).await.unwrap().contains(what) {};
    until(&mut lines, "listens on").await;
    get(&address(&pod)).await.unwrap();
    until(&mut lines, "\"GET /\" 200").await;
    cluster
        .api::<Deployment>()
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    while next_line(&mut lines).await.is_some() {}
    assert!(following.wait().await.unwrap().success(), "following ends with the pod");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_answers_only_whom_the_api_server_lets() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    cluster.create::<Deployment>(deployment("web", 1, "nginx")).await;
    let pod = cluster.ready_pods("app=web", 1).await.remove(0);
    let host = pod.status.as_ref().unwrap().host_ip.clone().unwrap();
    let admin = config(&cluster.running.admin_kubeconfig).await.unwrap();
    let api: Api<ServiceAccount> = cluster.api();
    let token = eventually("a token", || async {
        let asked = api
            .create_token_request("default", &PostParams::default(), &Default::default())
            .await;
        asked.ok()?.status?.token
    })
    .await;
    let ask = async |auth_info| {
        let mut config = admin.clone();
        config.cluster_url = format!("https://{host}:10250").parse().unwrap();
        config.accept_invalid_certs = true;
        config.auth_info = auth_info;
        let path = format!("/containerLogs/default/{}/web", name(&pod));
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match Client::try_from(config).unwrap().request_text(request).await {
            Ok(log) => Ok(log),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(other) => panic!("{other}"),
        }
    };
    let with_token = |token: &str| kube::config::AuthInfo {
        token: Some(token.to_owned().into()),
        ..Default::default()
    };
    assert_eq!(ask(Default::default()).await, Err(401));
    assert_eq!(ask(with_token("made-up")).await, Err(401));
    assert_eq!(ask(with_token(&token)).await, Err(403));
    assert!(ask(admin.auth_info.clone()).await.unwrap().contains("listens on"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_what_it_refers_to() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    let mut web = deployment("web", 1, "nginx");
    web["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    cluster.create::<Deployment>(web).await;
    let waiting = eventually("a container that waits", || async {
        let status = cluster.pods("app=web").await.first()?.status.clone()?;
        status.container_statuses?.first()?.state.clone()?.waiting
    })
    .await;
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    assert_eq!(waiting.message.as_deref(), Some("configmap \"settings\" not found"));
    let settings = json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "blue"}});
    cluster.create::<ConfigMap>(settings).await;
    cluster.ready_pods("app=web", 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 2).await;
    cluster.create::<Deployment>(deployment("web", 4, "nginx")).await;
    let facts = |pods: &[Pod]| {
        pods.iter()
            .map(|pod| (name(pod), pods::node_name(pod).unwrap().to_owned(), address(pod)))
            .collect::<Vec<_>>()
    };
    let before = facts(&cluster.ready_pods("app=web", 4).await);
    cluster.stop().await;
    let cluster = Cluster::start(dir.path(), 2).await;
    let after = cluster.ready_pods("app=web", 4).await;
    assert_eq!(facts(&after), before);
    for pod in &after {
        let entry = address(pod);
        let answer = eventually("the pod to listen again", || get(&entry)).await;
        assert!(answer.contains(&name(pod)));
    }
    assert_eq!(
        cluster.nodes().list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_complete_and_accounts_get_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1).await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "perl", "command": ["true"]}]}});
    cluster
        .create::<Job>(
            json!({"metadata": {"name": "pi"}, "spec": {"completions": 3, "parallelism": 2, "template": template}}),
        )
        .await;
    cluster
        .create::<ServiceAccount>(json!({"metadata": {"name": "robot"}}))
        .await;
    let secret = json!({
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    });
    cluster.create::<Secret>(secret).await;
    let data = eventually("a token", || async {
        cluster.api::<Secret>().get("robot-token").await.unwrap().data
    })
    .await;
    assert!(data["ca.crt"].0.starts_with(b"-----BEGIN CERTIFICATE-----"));
    let mut config = config(&cluster.running.admin_kubeconfig).await.unwrap();
    config.auth_info = kube::config::AuthInfo {
        token: Some(String::from_utf8(data["token"].0.clone()).unwrap().into()),
        ..Default::default()
    };
    let robot = Client::try_from(config).unwrap();
    let refused = Api::<Secret>::namespaced(robot, "default")
        .list(&ListParams::default())
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert!(
        status.message.contains("system:serviceaccount:default:robot"),
        "{}",
        status.message
    );
    let status = eventually("the job to complete", || async {
        let status = cluster.api::<Job>().get("pi").await.unwrap().status?;
        status.completion_time.is_some().then_some(status)
    });
    assert_eq!(status.await.succeeded, Some(3));
    let events = cluster
        .api::<Event>()
        .list(&ListParams::default().fields("involvedObject.name=pi"))
        .await
        .unwrap();
    assert!(
        events
            .items
            .iter()
            .any(|event| event.reason.as_deref() == Some("SuccessfulCreate"))
    );
    cluster.stop().await;
}
