//! A local federation for one test, gone when the test is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{Answer, eventually, get};

/// The clusters of a federation: host first.
pub const CLUSTERS: [&str; 3] = ["us-east1-b", "europe-west1-c", "asia-northeast1-a"];

/// What the clusters of the journeys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kubernetes {
    /// Miniclusters.
    Mini,
    /// kube-apiserver, etcd, kube-controller-manager.
    Real,
}

impl Kubernetes {
    /// What this test process plays on: real Kubernetes if `KUBEFED_E2E_KUBERNETES=real`.
    #[must_use]
    pub fn of_this_run() -> Self {
        if std::env::var("KUBEFED_E2E_KUBERNETES").as_deref() == Ok("real") {
            Self::Real
        } else {
            Self::Mini
        }
    }
}

/// A released binary.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("release").join(name);
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

/// The kubectl of the tests.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn kubectl_path() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/kubectl");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("kubectl"));
    let found = std::iter::once(own).chain(on_path).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("kubectl is missing: run `make tools`"))
}

/// What a command printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("cannot run {:?}: {e}", command.get_program()));
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn expect(self) -> String {
        assert!(self.success, "failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a command that must have failed.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn expect_error(self) -> String {
        assert!(!self.success, "succeeded, but should not have: {}", self.stdout);
        self.stderr
    }
}

/// A local federation in a directory of its own. Dropping it stops every process and deletes the directory.
pub struct Federation {
    directory: tempfile::TempDir,
}

impl Federation {
    /// Starts one with the three [`CLUSTERS`] and short timings.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("kubefed-e2e-").tempdir();
        let federation = Self {
            directory: directory.unwrap_or_else(|e| panic!("cannot make a directory: {e}")),
        };
        let _ = federation.up(&CLUSTERS).expect();
        federation
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// `kubefed local up` for these clusters.
    #[must_use]
    pub fn up(&self, clusters: &[&str]) -> Output {
        let kubernetes = match Kubernetes::of_this_run() {
            Kubernetes::Mini => "mini",
            Kubernetes::Real => "real",
        };
        let timings = "--cluster-monitor-period=1s,--cluster-lost-after=4s,--cluster-return-after=1s";
        self.kubefed(&[
            "local",
            "up",
            "--detach",
            "--clusters",
            &clusters.join(","),
            "--kubernetes",
            kubernetes,
            "--controllermanager-arg-overrides",
            timings,
        ])
    }

    /// Runs kubefed on this federation.
    #[must_use]
    pub fn kubefed(&self, arguments: &[&str]) -> Output {
        Output::of(
            Command::new(binary("kubefed"))
                .args(arguments)
                .env("KUBEFED_LOCAL_DIR", self.dir())
                .env("KUBECONFIG", self.kubeconfig()),
        )
    }

    /// The kubeconfig with a context per cluster and one named `federation`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// Runs kubectl in a context.
    #[must_use]
    pub fn kubectl(&self, context: &str, arguments: &[&str]) -> Output {
        Output::of(
            Command::new(kubectl_path())
                .arg(format!("--context={context}"))
                .args(arguments)
                .env("KUBECONFIG", self.kubeconfig())
                .env("KUBECACHEDIR", self.dir().join("kubectl-cache")),
        )
    }

    /// Creates what a manifest says, in the federation.
    ///
    /// # Panics
    /// If the API server refuses it.
    pub fn create(&self, manifest: &str) {
        let _ = self.create_output(manifest).expect();
    }

    /// Tries to create what a manifest says.
    ///
    /// # Panics
    /// If the manifest cannot be written to disk.
    #[must_use]
    pub fn create_output(&self, manifest: &str) -> Output {
        let file = tempfile::NamedTempFile::new_in(self.dir()).unwrap_or_else(|e| panic!("no temporary file: {e}"));
        std::fs::write(file.path(), manifest).unwrap_or_else(|e| panic!("cannot write the manifest: {e}"));
        self.kubectl("federation", &["create", "-f", &file.path().to_string_lossy()])
    }

    /// Waits until `kubectl get WHAT -o jsonpath=PATH` prints `wanted`.
    pub fn await_value(&self, context: &str, what: &str, path: &str, wanted: &str) {
        let output = format!("jsonpath={path}");
        eventually(
            &format!("{context}: {what} {path} is {wanted:?}"),
            Duration::from_secs(60),
            || {
                let got = self.kubectl(context, &["get", what, "-o", &output]);
                if got.success && got.stdout == wanted {
                    Ok(())
                } else {
                    Err(format!("{}{}", got.stdout, got.stderr))
                }
            },
        );
    }

    /// Waits until an object is gone.
    pub fn await_gone(&self, context: &str, what: &str) {
        eventually(&format!("{context}: {what} is gone"), Duration::from_secs(60), || {
            let got = self.kubectl(context, &["get", what, "-o", "name", "--ignore-not-found"]);
            if got.success && got.stdout.is_empty() {
                Ok(())
            } else {
                Err(format!("{}{}", got.stdout, got.stderr))
            }
        });
    }

    /// `kubefed local status -o json`.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn status(&self) -> Value {
        let text = self.kubefed(&["local", "status", "-o", "json"]).expect();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("status is not JSON: {e}: {text}"))
    }

    /// Where the load balancer serves HTTP.
    ///
    /// # Panics
    /// If the status does not say.
    #[must_use]
    pub fn ingress(&self) -> SocketAddr {
        let status = self.status();
        let url = status["ingress"]["http"].as_str().unwrap_or_default().to_owned();
        let address = url.strip_prefix("http://").and_then(|a| a.parse().ok());
        address.unwrap_or_else(|| panic!("no ingress address in {status}"))
    }

    /// A request to the load balancer from a source address.
    ///
    /// # Errors
    /// What went wrong with the connection.
    pub fn visit(&self, source: &str, host: &str, path: &str) -> Result<Answer, String> {
        get(source, self.ingress(), host, path)
    }

    /// The processes of a cluster.
    #[must_use]
    pub fn pids(&self, cluster: &str) -> Vec<i32> {
        let status = self.status();
        let clusters = status["clusters"].as_array().cloned().unwrap_or_default();
        let found = clusters.iter().find(|c| c["name"] == cluster);
        let pids = found.and_then(|c| c["pids"].as_array().cloned()).unwrap_or_default();
        pids.iter().filter_map(|p| i32::try_from(p.as_i64()?).ok()).collect()
    }

    /// kill -9 for every process of a cluster.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill(&self, cluster: &str) {
        let pids = self.pids(cluster);
        assert!(!pids.is_empty(), "{cluster} has no processes");
        for pid in pids {
            let _ = Output::of(Command::new("kill").args(["-9", &pid.to_string()]));
        }
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump();
        }
        let _ = self.kubefed(&["local", "down"]);
    }
}

impl Federation {
    /// What there is to see when a test has failed.
    fn dump(&self) {
        for arguments in [
            &["get", "clusters,rs,deploy,svc,ing,endpointslices", "-A", "-o", "wide"][..],
            &["get", "events", "-A"],
        ] {
            let got = self.kubectl("federation", arguments);
            eprintln!("--- federation {arguments:?}\n{}{}", got.stdout, got.stderr);
        }
        let got = self.kubectl(CLUSTERS[0], &["get", "pods", "-A", "-o", "wide"]);
        eprintln!("--- host pods\n{}{}", got.stdout, got.stderr);
        for entry in std::fs::read_dir(self.dir().join("logs"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- {}\n{tail}", entry.path().display());
        }
    }
}
