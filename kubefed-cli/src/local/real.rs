//! Real Kubernetes as clusters of a local federation: etcd, kube-apiserver and kube-controller-manager from the
//! envtest binaries, and our node agent as their kubelet.
//!
//! kube-apiserver refuses loopback addresses for pods, so the clusters get ranges out of 10.0.0.0/8. Those are made
//! local addresses with a route, in a network namespace of their own: on a machine's real network they would shadow
//! somebody's hosts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kube::config::{AuthInfo, Cluster};

use super::cluster::{data_dir, federation_binary, free_port, log_file};
use super::process::Process;
use super::state::ClusterState;
use crate::certificates::Authority;
use crate::kubeconfig;
use crate::progress::wait_for;

/// Address range of the cluster with that index: the lower half is for pods and nodes, the upper for Services.
pub(crate) fn address_range(index: usize) -> anyhow::Result<String> {
    let second = 100 + index;
    ensure!(second < 256, "too many clusters");
    Ok(format!("10.{second}.0.0/17"))
}

/// The first two bytes of a cluster's range, as `10.100`.
fn network(cluster: &ClusterState) -> String {
    cluster.pod_cidr.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let candidates = assets.into_iter().chain([PathBuf::from("/usr/local/kubebuilder/bin")]);
    let found = candidates.map(|dir| dir.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is neither in $KUBEBUILDER_ASSETS nor in /usr/local/kubebuilder/bin"))
}

/// Starts what is not running of the cluster.
pub(crate) async fn start(dir: &Path, cluster: &mut ClusterState, nodes: u32) -> anyhow::Result<()> {
    own_network_namespace()?;
    make_local(&network(cluster))?;
    let data = data_dir(dir, &cluster.name);
    if !data.join("admin.kubeconfig").exists() {
        make_credentials(cluster, &data)?;
    }
    let all_alive = !cluster.processes.is_empty() && cluster.processes.iter().all(Process::is_alive);
    if all_alive {
        return Ok(());
    }
    for process in cluster.processes.drain(..).rev() {
        process.stop(Duration::from_secs(5)).await;
    }
    let log = |role: &str| log_file(dir, &format!("{}-{role}", cluster.name));
    let (client_port, peer_port) = (free_port()?, free_port()?);
    let etcd = Process::spawn("etcd", etcd(&data, client_port, peer_port)?, &log("etcd"))?;
    let apiserver = Process::spawn(
        "kube-apiserver",
        apiserver(cluster, &data, client_port)?,
        &log("kube-apiserver"),
    )?;
    cluster.processes = vec![etcd, apiserver];
    wait_for(
        &format!("kube-apiserver of {} to be ready", cluster.name),
        Duration::from_secs(60),
        || async {
            let config = kube::config::Kubeconfig::read_from(data.join("admin.kubeconfig"))?;
            let client = kubeconfig::client(&config, "admin").await?;
            // kube-controller-manager gives up if the server it finds is not ready within ten seconds.
            client
                .request_text(http::Request::get("/readyz").body(Vec::new())?)
                .await?;
            anyhow::Ok(Some(()))
        },
    )
    .await?;
    let manager = Process::spawn(
        "kube-controller-manager",
        manager(&data)?,
        &log("kube-controller-manager"),
    )?;
    let node = Process::spawn("node", node(cluster, &data, nodes)?, &log("node"))?;
    cluster.processes.extend([manager, node]);
    Ok(())
}

fn own_network_namespace() -> anyhow::Result<()> {
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    if let (Ok(own), Ok(first)) = (of("self"), of("1"))
        && own == first
    {
        bail!("real clusters need a network namespace of their own: run this under `unshare --net`");
    }
    Ok(())
}

/// Makes every address of `NETWORK.0.0/16` an address of this machine, in this network namespace.
fn make_local(network: &str) -> anyhow::Result<()> {
    let run = |arguments: &[&str]| {
        let output = Command::new("ip")
            .args(arguments)
            .output()
            .context("cannot run ip (package iproute2)")?;
        ensure!(
            output.status.success(),
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        anyhow::Ok(())
    };
    run(&["link", "set", "lo", "up"])?;
    run(&["route", "replace", "local", &format!("{network}.0.0/16"), "dev", "lo"])
}

fn make_credentials(cluster: &ClusterState, data: &Path) -> anyhow::Result<()> {
    let network = network(cluster);
    let authority = Authority::new(&cluster.name)?;
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
        "127.0.0.1",
    ];
    let addresses = [format!("{network}.128.1"), format!("{network}.0.1")];
    let names: Vec<String> = names.iter().map(ToString::to_string).chain(addresses).collect();
    let server = authority.server("kube-apiserver", &names)?;
    let tokens = authority.server("service-accounts", &[])?;
    let admin = authority.client("admin", Some("system:masters"))?;
    let kubelet_client = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    for (name, text) in [
        ("ca.crt", &authority.certificate()),
        ("server.crt", &server.certificate),
        ("server.key", &server.key),
        ("kubelet-client.crt", &kubelet_client.certificate),
        ("kubelet-client.key", &kubelet_client.key),
        ("sa.key", &tokens.key),
        ("sa.crt", &tokens.certificate),
    ] {
        kubeconfig::write_private(&data.join(name), text.as_bytes())?;
    }
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let own = Cluster {
        server: Some(format!("https://127.0.0.1:{}", cluster.port)),
        certificate_authority_data: Some(encode(&authority.certificate())),
        ..Cluster::default()
    };
    let user = AuthInfo {
        client_certificate_data: Some(encode(&admin.certificate)),
        client_key_data: Some(encode(&admin.key).into()),
        ..AuthInfo::default()
    };
    let file = data.join("admin.kubeconfig");
    kubeconfig::merge_into(&file, "admin", own, user)?;
    let mut config = kube::config::Kubeconfig::read_from(&file)?;
    config.current_context = Some("admin".into());
    kubeconfig::write(&file, &config)
}

fn etcd(data: &Path, client_port: u16, peer_port: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("etcd")?);
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    command
        .arg("--data-dir")
        .arg(data.join("etcd"))
        .args(["--log-level", "warn"]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    Ok(command)
}

fn apiserver(cluster: &ClusterState, data: &Path, etcd_port: u16) -> anyhow::Result<Command> {
    let network = network(cluster);
    let file = |flag: &str, name: &str| format!("--{flag}={}", data.join(name).display());
    let mut command = Command::new(binary("kube-apiserver")?);
    command.args([
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        // All of the namespace's addresses: pods reach it through the Service `kubernetes`.
        "--bind-address=0.0.0.0".into(),
        format!("--secure-port={}", cluster.port),
        format!("--advertise-address={network}.0.1"),
        format!("--service-cluster-ip-range={network}.128.0/17"),
        "--authorization-mode=RBAC".into(),
        "--allow-privileged=true".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("client-ca-file", "ca.crt"),
        file("kubelet-client-certificate", "kubelet-client.crt"),
        file("kubelet-client-key", "kubelet-client.key"),
        file("service-account-key-file", "sa.crt"),
        file("service-account-signing-key-file", "sa.key"),
    ]);
    Ok(command)
}

fn manager(data: &Path) -> anyhow::Result<Command> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", data.join(name).display());
    let mut command = Command::new(binary("kube-controller-manager")?);
    command.args([
        file("kubeconfig", "admin.kubeconfig"),
        file("service-account-private-key-file", "sa.key"),
        file("root-ca-file", "ca.crt"),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={}", free_port()?),
        // The defaults of 20 and 30 stretch the start of 200 pods to ten seconds.
        "--kube-api-qps=500".into(),
        "--kube-api-burst=500".into(),
    ]);
    Ok(command)
}

fn node(cluster: &ClusterState, data: &Path, nodes: u32) -> anyhow::Result<Command> {
    let mut command = Command::new(federation_binary()?);
    command.args(["minicluster", "node", "--name", &cluster.name]);
    command.args(["--region", cluster.region(), "--zone", &cluster.name]);
    command.arg("--kubeconfig").arg(data.join("admin.kubeconfig"));
    command.arg("--data-dir").arg(data.join("node"));
    command.args(["--nodes", &nodes.to_string(), "--pod-cidr", &cluster.pod_cidr]);
    Ok(command)
}
