//! Clients other than kubectl, run as they are: the Python client and Helm.
//!
//! A client that is neither installed nor can be installed is left out, and the test says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use apiserver::{Args, Profile};
use tokio_util::sync::CancellationToken;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn told(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{error}")
}

/// Whether a command ends well.
fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a journey with the kubeconfig of a server of its own and a folder to work in.
async fn with_server(journey: impl FnOnce(&Path, &Path) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let data = format!("--data-dir={}", folder.path().join("data").display());
    let args = Args::parse_line([data, "--secure-port=0".to_owned()]).unwrap();
    let running = apiserver::start(args, Profile::Federation, stop.clone()).await.unwrap();
    let kubeconfig = running.admin_kubeconfig.clone();
    let journeying = tokio::task::spawn_blocking(move || journey(&kubeconfig, folder.path()));
    journeying.await.unwrap();
    stop.cancel();
    running.done.await.unwrap();
}

/// A python that has the client: the one of the PATH, or one with the client installed into a folder.
fn python(folder: &Path) -> Option<Command> {
    let library = folder.join("python");
    let interpreter = || {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &library);
        command
    };
    let has_client = || works(interpreter().args(["-c", "import kubernetes"]));
    if !has_client() {
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "kubernetes",
            "--target",
        ];
        works(interpreter().args(install).arg(&library));
    }
    has_client().then(interpreter)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_lists_watches_patches_applies_and_pages() {
    with_server(|kubeconfig, folder| {
        let Some(mut python) = python(folder) else {
            println!("skipped: there is no python3 with the package kubernetes, and pip cannot install it");
            return;
        };
        let output = python.arg(file("client.py")).arg(kubeconfig).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    })
    .await;
}

/// The `helm` of the PATH, or of the folder that holds the binaries of a control plane.
fn helm() -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map_or("/usr/local/kubebuilder/bin".into(), PathBuf::from);
    let all = [PathBuf::from("helm"), assets.join("helm")];
    all.into_iter()
        .find(|binary| works(Command::new(binary).arg("version")))
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_rolls_back_and_uninstalls_a_chart_with_the_usual_kinds() {
    with_server(|kubeconfig, folder| {
        let Some(binary) = helm() else {
            println!("skipped: there is no helm, neither on the PATH nor in KUBEBUILDER_ASSETS");
            return;
        };
        let chart = file("chart");
        let helm = |line: &str| {
            let mut command = Command::new(&binary);
            command.env("HOME", folder).env("KUBECONFIG", kubeconfig);
            let words = line.split(' ').map(|word| match word {
                "CHART" => chart.clone().into_os_string(),
                word => word.into(),
            });
            let output = command.args(words).output().unwrap();
            assert!(output.status.success(), "helm {line}\n{}", told(&output));
            told(&output)
        };
        let said = helm("install web CHART --namespace shop --create-namespace");
        assert!(said.contains("STATUS: deployed"), "{said}");
        helm("upgrade web CHART --namespace shop --set replicas=2,greeting=hi");
        assert!(helm("get manifest web --namespace shop").contains("greeting: hi"));
        helm("rollback web 1 --namespace shop");
        assert!(helm("get manifest web --namespace shop").contains("greeting: hello"));
        let history = helm("history web --namespace shop");
        assert!(history.contains("Rollback to 1"), "{history}");
        assert!(helm("list --namespace shop").contains("usual-0.1.0"));
        helm("uninstall web --namespace shop --cascade background");
        assert!(!helm("list --namespace shop").contains("usual-0.1.0"));
    })
    .await;
}
