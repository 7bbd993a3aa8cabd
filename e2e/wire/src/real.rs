//! Starts a real kube-apiserver on etcd, with the controllers that end what is being deleted, where their binaries lie.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::process::{Child, Command};

use crate::client::Client;

/// Token of the administrator.
pub const ADMIN_TOKEN: &str = "admintoken";
/// Users by token, in kube-apiserver's form.
pub const TOKENS: &str = "admintoken,admin,admin-uid,\"system:masters\"\nbobtoken,bob,bob-uid\n";

/// Admission that is off, because nobody here plays the other half of it: accounts and the certificates they trust come
/// from a controller, and so does whatever takes the protection of volumes and the taint of new nodes away again.
const UNADMITTED: [&str; 3] = [
    "ServiceAccount",
    "StorageObjectInUseProtection",
    "TaintNodesByCondition",
];

/// The controllers that run beside it: those that end namespaces, and what nobody owns any more. Ours has them within.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller";

/// A running kube-apiserver; it ends when this is dropped.
#[derive(Debug)]
pub struct Real {
    /// Client of the administrator.
    pub client: Client,
    _processes: Vec<Child>,
    _folder: tempfile::TempDir,
}

/// Folder of the binaries, if they are installed.
#[must_use]
pub fn binaries() -> Option<PathBuf> {
    let named = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| PathBuf::from("/usr/local/kubebuilder/bin"));
    ["etcd", "kube-apiserver", "kube-controller-manager"]
        .iter()
        .all(|name| folder.join(name).exists())
        .then_some(folder)
}

/// Starts etcd, kube-apiserver and kube-controller-manager.
///
/// # Errors
/// If one of them does not start.
pub async fn start(binaries: &Path) -> Result<Real> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ca = certificates(folder.path())?;
    std::fs::write(path("tokens.csv"), TOKENS)?;
    let (etcd, peer, port) = (free_port()?, free_port()?, free_port()?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let mut processes = vec![spawn(
        &binaries.join("etcd"),
        &folder.path().join("etcd.log"),
        &[
            format!("--data-dir={}", path("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={}", url(etcd)),
            format!("--advertise-client-urls={}", url(etcd)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(peer)),
            format!("--initial-cluster=default={}", url(peer)),
        ],
    )?];
    let log = folder.path().join("kube-apiserver.log");
    processes.push(spawn(
        &binaries.join("kube-apiserver"),
        &log,
        &[
            format!("--etcd-servers={}", url(etcd)),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", path("certs")),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            format!("--client-ca-file={}", path("ca.crt")),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path("sa.pub")),
            format!("--service-account-signing-key-file={}", path("sa.key")),
            format!("--disable-admission-plugins={}", UNADMITTED.join(",")),
        ],
    )?);
    let client = Client::new(&format!("https://127.0.0.1:{port}"), &ca, ADMIN_TOKEN)?;
    for _ in 0..600 {
        if client
            .send("GET", "/readyz", &[], bytes::Bytes::new())
            .await
            .is_ok_and(|answer| answer.status.is_success())
        {
            processes.push(controllers(binaries, folder.path(), port)?);
            return Ok(Real {
                client,
                _processes: processes,
                _folder: folder,
            });
        }
        if processes
            .iter_mut()
            .any(|process| process.try_wait().is_ok_and(|exit| exit.is_some()))
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = std::fs::read_to_string(log).unwrap_or_default();
    bail!(
        "kube-apiserver does not get ready: {}",
        log.lines().last().unwrap_or_default()
    )
}

/// Starts kube-controller-manager as the administrator of a kube-apiserver.
fn controllers(binaries: &Path, folder: &Path, port: u16) -> Result<Child> {
    let path = |name: &str| folder.join(name).display().to_string();
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": path("ca.crt")}}],
        "users": [{"name": "u", "user": {"token": ADMIN_TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    std::fs::write(path("kubeconfig"), kubeconfig.to_string())?;
    spawn(
        &binaries.join("kube-controller-manager"),
        &folder.join("kube-controller-manager.log"),
        &[
            format!("--kubeconfig={}", path("kubeconfig")),
            format!("--controllers={CONTROLLERS}"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_port()?),
            format!("--cert-dir={}", path("certs")),
        ],
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(program: &Path, log: &Path, arguments: &[String]) -> Result<Child> {
    let log = std::fs::File::create(log)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Writes a certificate authority, a serving certificate and a key for service accounts; answers
/// the authority's certificate.
fn certificates(folder: &Path) -> Result<String> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test-ca");
    let certificate = authority.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let server =
        CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?.signed_by(&key, &issuer)?;
    std::fs::write(folder.join("ca.crt"), certificate.pem())?;
    std::fs::write(folder.join("server.crt"), server.pem())?;
    std::fs::write(folder.join("server.key"), key.serialize_pem())?;
    let accounts = KeyPair::generate()?;
    std::fs::write(folder.join("sa.key"), accounts.serialize_pem())?;
    std::fs::write(folder.join("sa.pub"), accounts.public_key_pem())?;
    Ok(certificate.pem())
}
