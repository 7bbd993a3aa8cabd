//! Every kubectl command that makes sense against an API server, run with the real binary.
//!
//! The `kubectl` of the PATH is used; with `KUBECTL_DIR` every file of that folder, which should be kubectl in several
//! versions: old ones ask differently (OpenAPI v2 in protobuf, autoscaling/v1, legacy discovery).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use apiserver::{Args, Profile, Running};
use tokio_util::sync::CancellationToken;

/// A kubectl with the kubeconfig of a server's administrator, and a folder of its own.
struct Kubectl<'a> {
    binary: &'a Path,
    kubeconfig: PathBuf,
    home: &'a Path,
}

impl Kubectl<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.binary);
        command
            .current_dir(self.home)
            .env("HOME", self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            // An editor that turns every `old` into `new`.
            .env("KUBE_EDITOR", "sed -i s/old/new/");
        command
    }

    fn run(&self, line: &str) -> Output {
        let output = self.command().args(words(line)).output();
        output.expect("kubectl is on the PATH; `make tools` installs it")
    }

    /// Runs a command that must succeed and say `wanted` somewhere.
    fn says(&self, line: &str, wanted: &str) {
        let output = self.run(line);
        let told = told(&output);
        let fine = output.status.success() && told.contains(wanted);
        assert!(fine, "{} {line}\nwanted: {wanted}\n{told}", self.binary.display());
    }

    /// Runs a command that must fail and say `wanted` somewhere.
    fn refuses(&self, line: &str, wanted: &str) {
        let output = self.run(line);
        let told = told(&output);
        let fine = !output.status.success() && told.contains(wanted);
        assert!(fine, "{} {line}\nwanted: {wanted}\n{told}", self.binary.display());
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.home.join(name), text).unwrap();
    }
}

fn told(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{error}")
}

/// The words of a line; single quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

fn binaries() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("KUBECTL_DIR") else {
        return vec![PathBuf::from("kubectl")];
    };
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("KUBECTL_DIR is a folder")
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

async fn start(data: &Path, stop: &CancellationToken) -> Running {
    let args = Args::parse_line([format!("--data-dir={}", data.display()), "--secure-port=0".to_owned()]);
    apiserver::start(args.unwrap(), Profile::Federation, stop.clone())
        .await
        .unwrap()
}

/// Runs a journey with each kubectl against a server of its own.
async fn with_each_kubectl(journey: fn(&Kubectl<'_>)) {
    for binary in binaries() {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let running = start(&folder.path().join("data"), &stop).await;
        let kubeconfig = running.admin_kubeconfig.clone();
        let journeying = tokio::task::spawn_blocking(move || {
            journey(&Kubectl {
                binary: &binary,
                kubeconfig,
                home: folder.path(),
            });
        });
        journeying.await.unwrap();
        stop.cancel();
        running.done.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tells_about_itself() {
    with_each_kubectl(|kubectl| {
        kubectl.says("version", "Server Version: v1.36");
        kubectl.says("cluster-info", "is running at");
        kubectl.says("api-versions", "apps/v1");
        kubectl.says("api-resources -o wide", "deployments");
        kubectl.says(
            "api-resources --categories=all --namespaced -o name",
            "deployments.apps",
        );
        kubectl.says(
            "explain deployment.spec.template.spec.containers --recursive",
            "imagePullPolicy",
        );
        kubectl.says("explain configmap", "binaryData");
        kubectl.says("auth whoami", "system:masters");
        kubectl.says("auth can-i create deployments", "yes");
        kubectl.says("auth can-i --list", "*.*");
        kubectl.refuses("top node", "Metrics API not available");
        kubectl.refuses("get nonsense", "the server doesn't have a resource type");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_by_kind() {
    with_each_kubectl(|kubectl| {
        kubectl.says("create namespace web", "namespace/web created");
        for (line, created) in [
            ("configmap c --from-literal=a=b", "configmap/c"),
            ("secret generic s --from-literal=a=b", "secret/s"),
            ("serviceaccount robot", "serviceaccount/robot"),
            ("deployment d --image=nginx --replicas=2", "deployment.apps/d"),
            ("service clusterip cs --tcp=80:80", "service/cs"),
            ("service externalname en --external-name=example.com", "service/en"),
            ("job j --image=busybox", "job.batch/j"),
            ("cronjob cj --image=busybox --schedule='0 * * * *'", "cronjob.batch/cj"),
            (
                "role r --verb=get --resource=configmaps",
                "role.rbac.authorization.k8s.io/r",
            ),
            (
                "rolebinding rb --role=r --serviceaccount=web:robot",
                "rolebinding.rbac.authorization.k8s.io/rb",
            ),
            ("ingress i --rule=example.com/*=d:80", "ingress.networking.k8s.io/i"),
            (
                "poddisruptionbudget p --selector=app=d --min-available=1",
                "poddisruptionbudget.policy/p",
            ),
        ] {
            kubectl.says(
                &format!("create -n web {line} --dry-run=server"),
                &format!("{created} created (server dry run)"),
            );
            kubectl.says(&format!("create -n web {line}"), &format!("{created} created"));
        }
        kubectl.says(
            "create clusterrole cr --verb=list --resource=services",
            "clusterrole.rbac.authorization.k8s.io/cr created",
        );
        kubectl.says(
            "create clusterrolebinding crb --clusterrole=cr --user=bob",
            "crb created",
        );
        kubectl.says("auth can-i list services --as=bob", "yes");
        kubectl.says(
            "auth can-i get configmaps -n web --as=system:serviceaccount:web:robot",
            "yes",
        );
        kubectl.refuses("get secrets --as=bob", "User \"bob\" cannot list resource \"secrets\"");
        kubectl.says("create token robot -n web", "ey");
        kubectl.refuses("create configmap c -n web", "configmaps \"c\" already exists");
        kubectl.says(
            "autoscale -n web deployment d --max=5 --min=2 --cpu-percent=50",
            "autoscaled",
        );
        kubectl.says("expose -n web deployment d --port=80", "service/d exposed");
        kubectl.says("get all -n web", "deployment.apps/d");
        kubectl.says("get all -n web", "horizontalpodautoscaler.autoscaling/d");
        kubectl.says("get cm c -n web -o jsonpath={.data.a}", "b");
        kubectl.says("get deployments -n web -o wide --show-labels", "app=d");
        kubectl.says(
            "get deployments -A --sort-by=.metadata.name -o name",
            "deployment.apps/d",
        );
        kubectl.says(
            "get cm c -n web -o yaml --show-managed-fields",
            "manager: kubectl-create",
        );
        for kind in [
            "deploy/d",
            "svc/d",
            "svc/en",
            "cm/c",
            "secret/s",
            "sa/robot",
            "job/j",
            "cj/cj",
            "role/r",
            "rolebinding/rb",
            "ing/i",
            "pdb/p",
            "hpa/d",
            "ns/web",
            "clusterrole/cr",
            "clusterrolebinding/crb",
        ] {
            kubectl.says(&format!("describe -n web {kind}"), "Name:");
        }
        kubectl.says("events -n web --for=deployment/d", "");
        kubectl.says("delete cm c -n web", "configmap \"c\" deleted");
        kubectl.says("delete deployment -n web -l app=d", "\"d\" deleted");
        kubectl.says("delete service -n web --all", "\"en\" deleted");
        kubectl.says("delete namespace web", "namespace \"web\" deleted");
        kubectl.refuses("get namespace web", "not found");
    })
    .await;
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  labels: {set: one}\ndata:\n  a: old\n";

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed_in_every_way() {
    with_each_kubectl(|kubectl| {
        kubectl.file("c.yaml", CONFIG);
        kubectl.says("create -f c.yaml", "configmap/c created");
        kubectl.says("apply -f c.yaml", "configmap/c configured");
        kubectl.says("apply -f c.yaml", "configmap/c unchanged");
        kubectl.says("diff -f c.yaml", "");
        kubectl.says("edit cm c", "configmap/c edited");
        kubectl.says("get cm c -o jsonpath={.data.a}", "new");
        kubectl.refuses("diff -f c.yaml", "-  a: new");
        kubectl.says("apply -f c.yaml", "configmap/c configured");
        kubectl.says("replace -f c.yaml", "configmap/c replaced");
        kubectl.says("replace --force -f c.yaml", "configmap/c replaced");
        kubectl.says(
            "apply --server-side --force-conflicts -f c.yaml",
            "configmap/c serverside-applied",
        );
        kubectl.says(
            "apply --server-side --field-manager=other --dry-run=server -f c.yaml",
            "serverside-applied",
        );
        kubectl.file("other.yaml", &CONFIG.replace("a: old", "a: mine"));
        kubectl.refuses(
            "apply --server-side --field-manager=other -f other.yaml",
            "conflicts with \"kubectl\"",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_rolled_out() {
    with_each_kubectl(|kubectl| {
        kubectl.says("create deployment d --image=nginx:1", "created");
        kubectl.says("scale deployment d --replicas=3", "deployment.apps/d scaled");
        kubectl.says("scale deployment d --current-replicas=3 --replicas=4", "deployment.apps/d scaled");
        kubectl.refuses("scale deployment d --current-replicas=3 --replicas=5", "Expected replicas to be 3, was 4");
        kubectl.says("set image deployment/d nginx=nginx:2", "image updated");
        kubectl.says("set env deployment/d A=b", "env updated");
        kubectl.says("set resources deployment/d --limits=cpu=1", "resource requirements updated");
        kubectl.says("set serviceaccount deployment d robot", "serviceaccount updated");
        kubectl.says("rollout pause deployment/d", "deployment.apps/d paused");
        kubectl.says("rollout resume deployment/d", "deployment.apps/d resumed");
        kubectl.says("rollout restart deployment/d", "deployment.apps/d restarted");
        // Nobody runs deployments here: what a controller would write is written by hand.
        let uid = told(&kubectl.run("get deployment d -o jsonpath={.metadata.uid}"));
        for (revision, image) in [("1", "nginx:1"), ("2", "nginx:2")] {
            kubectl.file("rs.yaml", &replica_set(&uid, revision, image));
            kubectl.says("create -f rs.yaml", "created");
        }
        kubectl.says("annotate deployment d deployment.kubernetes.io/revision=2", "annotated");
        kubectl.says("rollout history deployment/d", "2");
        kubectl.says("rollout history deployment/d --revision=1", "nginx:1");
        kubectl.says("rollout undo deployment/d --to-revision=1", "deployment.apps/d rolled back");
        let image = "get deployment d -o jsonpath={.spec.template.spec.containers[0].image}";
        kubectl.says(image, "nginx:1");
        let generation = told(&kubectl.run("get deployment d -o jsonpath={.metadata.generation}"));
        let status = format!(
            "{{\"status\":{{\"observedGeneration\":{generation},\"replicas\":4,\"updatedReplicas\":4,\"availableReplicas\":4,\
             \"readyReplicas\":4,\"conditions\":[{{\"type\":\"Available\",\"status\":\"True\"}}]}}}}"
        );
        kubectl.says(&format!("patch deployment d --subresource=status --type=merge -p {status}"), "patched");
        kubectl.says("rollout status deployment/d --timeout=30s", "successfully rolled out");
        kubectl.says("wait --for=condition=Available deployment/d --timeout=30s", "condition met");
        kubectl.says("get deployment d", "4/4");
    })
    .await;
}

/// What the deployment controller makes of a revision of deployment `d`.
fn replica_set(uid: &str, revision: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: d-{revision}
  labels: {{app: d, pod-template-hash: r{revision}}}
  annotations: {{deployment.kubernetes.io/revision: \"{revision}\"}}
  ownerReferences:
  - {{apiVersion: apps/v1, kind: Deployment, name: d, uid: {uid}, controller: true}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: d, pod-template-hash: r{revision}}}}}
  template:
    metadata: {{labels: {{app: d, pod-template-hash: r{revision}}}}}
    spec: {{containers: [{{name: nginx, image: '{image}'}}]}}
"
    )
}
