//! The engines under test.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use storage::{Storage, etcd};

/// An engine and what it needs to live.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn Storage>,
    _directory: Option<tempfile::TempDir>,
    _process: Option<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every engine, fresh and empty.
pub(crate) async fn all() -> Vec<Engine> {
    let memory = Engine {
        name: "memory",
        store: storage::memory(),
        _directory: None,
        _process: None,
    };
    let directory = tempfile::tempdir().unwrap();
    let store = storage::embedded::open(directory.path()).unwrap();
    let embedded = Engine {
        name: "embedded",
        store,
        _directory: Some(directory),
        _process: None,
    };
    let mut engines = vec![memory, embedded];
    match etcd_binary() {
        Some(binary) => engines.push(etcd(binary).await),
        None => println!("skipped: etcd (no binary in $KUBEBUILDER_ASSETS, /usr/local/kubebuilder/bin or PATH)"),
    }
    engines
}

fn etcd_binary() -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).collect();
    let directories = assets
        .into_iter()
        .chain([PathBuf::from("/usr/local/kubebuilder/bin")])
        .chain(path);
    directories
        .map(|directory| directory.join("etcd"))
        .find(|binary| binary.is_file())
}

/// A port nobody listens on, and that no other test of this process was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

async fn etcd(binary: PathBuf) -> Engine {
    let directory = tempfile::tempdir().unwrap();
    let (client, peer) = (
        format!("http://127.0.0.1:{}", free_port()),
        format!("http://127.0.0.1:{}", free_port()),
    );
    let child = Command::new(binary)
        .arg("--data-dir")
        .arg(directory.path())
        .args([
            "--unsafe-no-fsync",
            "--log-level",
            "error",
            "--initial-cluster",
            &format!("default={peer}"),
        ])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(child);
    let store = etcd::connect(&etcd::Options {
        servers: vec![client],
        ..etcd::Options::default()
    })
    .unwrap();
    let ready = async {
        while store.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready)
        .await
        .expect("etcd starts within a minute");
    Engine {
        name: "etcd",
        store,
        _directory: Some(directory),
        _process: Some(process),
    }
}
