//! Every server process: help that explains, structured logs, health and metrics endpoints, a clean stop on SIGTERM.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{binary, eventually, get, kubectl_path};

/// A server process with its log, killed when the test ends.
struct Process {
    name: &'static str,
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    fn start(dir: &Path, name: &'static str, arguments: &[&str]) -> std::io::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let child = Command::new(binary("federation"))
            .args(["--log-format=json", name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self { name, child, log })
    }

    /// SIGTERM ends it with exit status 0; every line it has logged is JSON with a time, a level and a message.
    fn stop(mut self) -> std::io::Result<()> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status()?.success());
        let status = eventually(
            &format!("{} stops", self.name),
            Duration::from_secs(30),
            || match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                other => Err(format!("{other:?}")),
            },
        );
        let log = std::fs::read_to_string(&self.log)?;
        assert!(status.success(), "{}: {status}: {log}", self.name);
        assert!(!log.is_empty(), "{} says nothing", self.name);
        for line in log.lines() {
            let entry: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", self.name));
            assert!(
                entry["timestamp"].is_string() && entry["level"].is_string(),
                "{}: {line}",
                self.name
            );
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kubectl get --raw PATH` with a kubeconfig.
fn raw(kubeconfig: &Path, path: &str) -> Result<String, String> {
    let output = Command::new(kubectl_path())
        .args(["get", "--raw", path, "--kubeconfig"])
        .arg(kubeconfig)
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn serves_its_health_as_api(name: &str, kubeconfig: &Path) {
    eventually(&format!("{name} is ready"), Duration::from_secs(30), || {
        raw(kubeconfig, "/readyz")
    });
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(raw(kubeconfig, path).as_deref(), Ok("ok"), "{name} {path}");
    }
    let metrics = raw(kubeconfig, "/metrics");
    let counted = metrics
        .as_ref()
        .is_ok_and(|text| text.contains("apiserver_request_total"));
    assert!(counted, "{name}: {metrics:?}");
}

fn serves_its_health_on(name: &str, address: SocketAddr) {
    for path in ["/readyz", "/healthz", "/livez"] {
        eventually(&format!("{name} {path}"), Duration::from_secs(30), || {
            match get("127.0.0.1", address, "localhost", path) {
                Ok(answer) if answer.status == 200 && answer.body.contains("ok") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    let metrics = get("127.0.0.1", address, "localhost", "/metrics");
    let typed = metrics.as_ref().is_ok_and(|answer| answer.body.contains("# TYPE"));
    assert!(typed, "{name}: {metrics:?}");
}

#[test]
fn every_process_explains_itself() {
    for name in ["apiserver", "controller-manager", "lb", "minicluster", "standalone"] {
        let output = Command::new(binary("federation"))
            .args([name, "--help"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}");
        // A flag is followed by what it means, on its own line or the next.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(flag) = line.trim_start().strip_prefix("--") {
                let explained = flag.contains("  ") || lines.peek().is_some_and(|next| !next.trim().is_empty());
                assert!(explained, "{name}: --{flag} is not explained");
            }
        }
        let wrong = Command::new(binary("federation"))
            .args([name, "--no-such-flag"])
            .output()
            .unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{name}");
        assert!(
            String::from_utf8_lossy(&wrong.stderr).contains("--no-such-flag"),
            "{name}"
        );
    }
}

#[test]
fn every_process_tells_its_health_and_stops_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let data = |name: &str| format!("--data-dir={}", path(name).display());
    let server = ["--bind-address=127.0.0.1", "--secure-port=0"];

    let apiserver = Process::start(dir.path(), "apiserver", &[server[0], server[1], &data("apiserver")]).unwrap();
    let federation = path("apiserver/admin.kubeconfig");
    serves_its_health_as_api("apiserver", &federation);

    let place = ["--name=here", "--region=us-east1", "--zone=us-east1-b"];
    let member_data = data("minicluster");
    let member = [&server[..], &place[..], &[&member_data]].concat();
    let minicluster = Process::start(dir.path(), "minicluster", &member).unwrap();
    let host = path("minicluster/admin.kubeconfig");
    serves_its_health_as_api("minicluster", &host);

    let kubeconfig = format!("--kubeconfig={}", federation.display());
    let host_kubeconfig = format!("--host-kubeconfig={}", host.display());
    let manager = Process::start(
        dir.path(),
        "controller-manager",
        &[&kubeconfig, &host_kubeconfig, "--metrics-bind-address=127.0.77.1:10253"],
    )
    .unwrap();
    serves_its_health_on("controller-manager", SocketAddr::from(([127, 0, 77, 1], 10253)));

    let lb = Process::start(
        dir.path(),
        "lb",
        &[
            &kubeconfig,
            "--http-bind-address=127.0.77.1:8080",
            "--https-bind-address=127.0.77.1:8443",
            "--metrics-bind-address=127.0.77.1:10254",
            "--access-log=off",
        ],
    )
    .unwrap();
    serves_its_health_on("lb", SocketAddr::from(([127, 0, 77, 1], 10254)));

    lb.stop().unwrap();
    manager.stop().unwrap();
    minicluster.stop().unwrap();
    apiserver.stop().unwrap();

    let all = Process::start(
        dir.path(),
        "standalone",
        &[
            server[0],
            server[1],
            &data("standalone"),
            &host_kubeconfig,
            "--http-bind-address=127.0.77.1:8081",
        ],
    )
    .unwrap();
    serves_its_health_as_api("standalone", &path("standalone/admin.kubeconfig"));
    all.stop().unwrap();
}
