//! The processes: the members', and those of the control plane.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use client::{
    Rest,
    resources::{CLUSTERS, NAMESPACES, SECRETS},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::Instant,
};

use crate::{Options, members::Member};

const SYSTEM: &str = api::well_known::SYSTEM_NAMESPACE;
/// A process is ready within this time, or something is wrong.
const READY: Duration = Duration::from_secs(120);

/// A federation of many clusters. Its processes end with it.
pub(crate) struct Plane {
    /// The federation API.
    pub(crate) federation: Rest,
    /// The members' API servers.
    pub(crate) members: Vec<Rest>,
    apiserver: Child,
    manager: Child,
    _holders: Vec<Child>,
    manager_log: PathBuf,
    arguments: Vec<String>,
}

/// The `federation` binary beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("federation");
    if !path.exists() {
        bail!("{} is missing: run `make sim`", path.display());
    }
    Ok(path)
}

fn spawn(arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let child = Command::new(program()?)
        .args(arguments)
        // A pod keeps its name, and so the lease, across a crash.
        .env("POD_NAME", "sim")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    child.context("cannot start a process of the control plane")
}

impl Plane {
    /// Starts everything, registers the members, and waits until all are ready.
    pub(crate) async fn start(options: &Options, dir: &Path) -> anyhow::Result<Self> {
        let (holders, found) = members(options, dir).await?;
        let data = dir.join("federation");
        let kubeconfig = data.join("admin.kubeconfig");
        let server = ["apiserver", "--data-dir", text(&data)?, "--secure-port", "0"].map(str::to_owned);
        let apiserver = spawn(&server, &dir.join("apiserver.log"))?;
        let federation = connect(&kubeconfig).await?;
        register(options, &federation, &found).await?;
        let arguments = [
            "controller-manager",
            "--kubeconfig",
            text(&kubeconfig)?,
            "--host-kubeconfig",
            text(&found[0].kubeconfig)?,
            "--metrics-bind-address",
            "127.0.0.1:0",
        ]
        .map(str::to_owned)
        .to_vec();
        let manager_log = dir.join("controller-manager.log");
        let manager = spawn(&arguments, &manager_log)?;
        let mut members = Vec::new();
        for member in &found {
            members.push(client::connect::kubeconfig(&member.name, &member.kubeconfig, None).await?);
        }
        let plane = Self {
            federation,
            members,
            apiserver,
            manager,
            _holders: holders,
            manager_log,
            arguments,
        };
        plane.all_ready().await?;
        Ok(plane)
    }

    async fn all_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let clusters = self.federation.list(&CLUSTERS, None, "").await?;
            let items = clusters["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ready = items.iter().filter(|c| {
                c["status"]["conditions"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            });
            let ready = ready.count();
            if ready == self.members.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("only {ready} of {} clusters became ready", self.members.len());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Resident memory of API server and controller manager, in bytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        (resident(&self.apiserver), resident(&self.manager))
    }

    /// CPU time that API server and controller manager have used.
    pub(crate) fn cpu(&self) -> (Duration, Duration) {
        (cpu(&self.apiserver), cpu(&self.manager))
    }

    /// Kills the controller manager, as a crash would.
    pub(crate) async fn kill_manager(&mut self) -> anyhow::Result<()> {
        Ok(self.manager.kill().await?)
    }

    /// Starts the controller manager again.
    pub(crate) fn start_manager(&mut self) -> anyhow::Result<()> {
        self.manager = spawn(&self.arguments, &self.manager_log)?;
        Ok(())
    }

    /// Requests that change something, served by all members so far; the stub's are not counted.
    pub(crate) async fn writes(&self) -> anyhow::Result<u64> {
        let counts = self.members.iter().map(async |member| {
            let text = member.raw(http::Method::GET, "/metrics", "", Vec::new()).await?;
            anyhow::Ok(writes(&String::from_utf8_lossy(&text)))
        });
        Ok(futures::future::try_join_all(counts).await?.into_iter().sum())
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the directory's name is not text")
}

async fn members(options: &Options, dir: &Path) -> anyhow::Result<(Vec<Child>, Vec<Member>)> {
    let names: Vec<String> = (0..options.clusters).map(|i| format!("member-{i:03}")).collect();
    let (mut holders, mut readers) = (Vec::new(), Vec::new());
    for names in names.chunks(options.clusters.div_ceil(options.processes.max(1))) {
        let log = std::fs::File::create(dir.join(format!("{}.log", names[0])))?;
        let mut holder = Command::new(std::env::current_exe()?)
            .arg("members")
            .arg(dir)
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let lines = holder.stdout.take().context("no output")?;
        readers.push((BufReader::new(lines).lines(), names.len()));
        holders.push(holder);
    }
    let mut found = Vec::new();
    for (lines, count) in &mut readers {
        for _ in 0..*count {
            let line = tokio::time::timeout(READY, lines.next_line()).await??;
            found.push(Member::parse(&line.context("the members ended")?)?);
        }
    }
    Ok((holders, found))
}

/// A client, once the server has written its kubeconfig and answers.
async fn connect(kubeconfig: &Path) -> anyhow::Result<Rest> {
    let deadline = Instant::now() + READY;
    loop {
        if kubeconfig.exists()
            && let Ok(rest) = client::connect::kubeconfig("federation", kubeconfig, None).await
            && rest.probe("/readyz").await.is_ok()
        {
            return Ok(rest);
        }
        if Instant::now() > deadline {
            bail!("the federation API does not answer");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Joins the members: credentials into the first one, which is the host, and a Cluster for each.
async fn register(options: &Options, federation: &Rest, members: &[Member]) -> anyhow::Result<()> {
    let host = client::connect::kubeconfig("host", &members[0].kubeconfig, None).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}});
    host.create(&NAMESPACES, None, &namespace).await?;
    for (index, member) in members.iter().enumerate() {
        let name = &member.name;
        let kubeconfig = std::fs::read_to_string(&member.kubeconfig)?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"kubeconfig": kubeconfig}});
        host.create(&SECRETS, Some(SYSTEM), &secret).await?;
        let group = (index / options.copies()).to_string();
        let cluster = json!({"apiVersion": "federation/v1beta1", "kind": "Cluster",
            "metadata": {"name": name, "labels": {"group": group}},
            "spec": {"serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": member.url}], "secretRef": {"name": name}}});
        federation.create(&CLUSTERS, None, &cluster).await?;
    }
    Ok(())
}

/// The sum of the request counters of verbs that write, subresources left out.
fn writes(metrics: &str) -> u64 {
    let counted = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains("subresource=\"\"")
            && ["create", "update", "patch", "delete", "deletecollection"]
                .iter()
                .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
    });
    counted
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

fn resident(child: &Child) -> u64 {
    let status = child
        .id()
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")));
    let status = status.and_then(Result::ok).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn cpu(child: &Child) -> Duration {
    let stat = child
        .id()
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")));
    let stat = stat.and_then(Result::ok).unwrap_or_default();
    // User and system time, in hundredths of a second on every Linux.
    let fields = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' '))
        .into_iter()
        .flatten();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_change_objects_are_counted() {
        let metrics = "apiserver_request_total{code=\"200\",group=\"\",resource=\"configmaps\",subresource=\"\",verb=\"patch\",version=\"v1\"} 7\n\
            apiserver_request_total{code=\"200\",group=\"\",resource=\"configmaps\",subresource=\"\",verb=\"get\",version=\"v1\"} 9\n\
            apiserver_request_total{code=\"200\",group=\"apps\",resource=\"deployments\",subresource=\"status\",verb=\"patch\",version=\"v1\"} 5\n\
            apiserver_request_total{code=\"201\",group=\"\",resource=\"namespaces\",subresource=\"\",verb=\"create\",version=\"v1\"} 1\n";
        assert_eq!(writes(metrics), 8);
    }
}
