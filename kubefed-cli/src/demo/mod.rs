//! `kubefed local demo`: the whole journey of the README, each step shown and checked.

mod client;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::local::State;
use client::{Visitor, field};
use stage::Stage;

const US: &str = "us-east1-b";
const EUROPE: &str = "europe-west1-c";
const ASIA: &str = "asia-northeast1-a";
const LATER: [&str; 2] = ["us-west1-a", "australia-southeast1-b"];
/// Clients in Council Bluffs, Saint-Ghislain and Tokyo.
const CLIENTS: [(&str, &str); 3] = [("127.1.0.1", US), ("127.2.0.1", EUROPE), ("127.3.0.1", ASIA)];
/// Shortened for the demo; the defaults are 10 s, 60 s and 20 s.
const TIMINGS: &str = "--cluster-monitor-period=1s,--cluster-lost-after=5s,--cluster-return-after=2s";
const FEDERATION: &str = "federation";
const SOON: Duration = Duration::from_secs(20);
const WHILE: Duration = Duration::from_secs(60);

/// The manifests the demo creates, by file name.
const MANIFESTS: [(&str, &str); 4] = [
    (
        "replicaset.yaml",
        include_str!("../../../manifests/hello/replicaset.yaml"),
    ),
    ("service.yaml", include_str!("../../../manifests/hello/service.yaml")),
    ("ingress.yaml", include_str!("../../../manifests/hello/ingress.yaml")),
    ("extras.yaml", include_str!("../../../manifests/hello/extras.yaml")),
];

/// Play the whole journey and check every step of it.
#[derive(Args, Clone)]
pub(crate) struct DemoArgs {
    /// Directory to play in; it must not exist [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the clusters are: miniclusters, or real Kubernetes from the envtest binaries
    #[arg(long, value_enum, default_value_t)]
    kubernetes: crate::local::Kubernetes,
    /// Leave everything running at the end
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let dir = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => std::env::temp_dir().join(format!("kubefed-demo-{}", std::process::id())),
    };
    ensure!(
        !dir.exists(),
        "{} exists already: the demo plays in a directory of its own",
        dir.display()
    );
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let demo = Demo {
        stage: Stage::new(dir.clone())?,
        kubernetes: args.kubernetes,
    };
    let outcome = demo.play(args.keep).await;
    if let Err(error) = &outcome {
        println!("\nThe demo failed: {error:#}");
        println!("Logs are in {}/logs; everything is being stopped.", dir.display());
        if !args.keep {
            crate::local::stop_all(&dir).await?;
        }
        return Ok(ExitCode::FAILURE);
    }
    println!("\nEvery step was seen to work, in {:.0} s.", demo.stage.elapsed());
    Ok(ExitCode::SUCCESS)
}

struct Demo {
    stage: Stage,
    kubernetes: crate::local::Kubernetes,
}

impl Demo {
    async fn play(&self, keep: bool) -> anyhow::Result<()> {
        self.start().await?;
        self.show_clusters(&[US, EUROPE, ASIA]).await?;
        self.deploy().await?;
        let url = self.serve().await?;
        self.scale_out().await?;
        self.lose_and_regain_europe(&url).await?;
        self.other_kinds().await?;
        if !keep {
            self.leave().await?;
        }
        Ok(())
    }

    fn dir(&self) -> anyhow::Result<&str> {
        self.stage.dir.to_str().context("the directory's name is not UTF-8")
    }

    async fn up(&self, clusters: &[&str]) -> anyhow::Result<()> {
        let clusters = format!("--clusters={}", clusters.join(","));
        let overrides = format!("--controllermanager-arg-overrides={TIMINGS}");
        let kubernetes = format!("--kubernetes={}", self.kubernetes.as_str());
        let arguments = [
            "local",
            "up",
            "--dir",
            self.dir()?,
            "--detach",
            &clusters,
            &overrides,
            &kubernetes,
        ];
        self.stage.kubefed(&arguments).await?;
        Ok(())
    }

    async fn start(&self) -> anyhow::Result<()> {
        self.stage.chapter("Three clusters and a federation");
        self.up(&[US, EUROPE, ASIA]).await?;
        let manifests = self.stage.dir.join("manifests");
        std::fs::create_dir_all(&manifests)?;
        for (name, text) in MANIFESTS {
            std::fs::write(manifests.join(name), text)?;
        }
        Ok(())
    }

    async fn show_clusters(&self, names: &[&str]) -> anyhow::Result<()> {
        self.stage
            .wait("clusters are Ready", SOON, || async {
                let text = self.stage.ask(FEDERATION, &["get", "clusters", "--no-headers"]).await?;
                let ready = |name: &&&str| text.lines().any(|l| l.starts_with(**name) && l.contains(" Ready "));
                let count = names.iter().filter(ready).count();
                Ok(if count == names.len() {
                    Ok(format!("{count} clusters are Ready"))
                } else {
                    Err(text)
                })
            })
            .await?;
        let text = self.stage.kubectl(FEDERATION, &["get", "clusters"]).await?;
        for name in names {
            let line = text
                .lines()
                .find(|l| l.starts_with(name))
                .with_context(|| format!("{name} is not listed"))?;
            let region = name.rsplit_once('-').map_or(*name, |(region, _)| region);
            ensure!(line.matches(region).count() >= 2, "{name} shows no region: {line}");
            ensure!(line.contains("v1."), "{name} shows no version: {line}");
        }
        Ok(())
    }

    fn manifest(&self, name: &str) -> String {
        self.stage.dir.join("manifests").join(name).display().to_string()
    }

    async fn deploy(&self) -> anyhow::Result<()> {
        self.stage.chapter("Nine web servers, from plain manifests");
        let (rs, service, ingress) = (
            self.manifest("replicaset.yaml"),
            self.manifest("service.yaml"),
            self.manifest("ingress.yaml"),
        );
        self.stage
            .kubectl(FEDERATION, &["create", "-f", &rs, "-f", &service, "-f", &ingress])
            .await?;
        self.ready_in_federation("rs", "hello", 9).await?;
        self.stage.kubectl(FEDERATION, &["get", "rs"]).await?;
        for cluster in [US, EUROPE, ASIA] {
            self.ready_in_member(cluster, "rs/hello", 3).await?;
            self.stage.kubectl(cluster, &["get", "rs,pods"]).await?;
        }
        Ok(())
    }

    async fn ready_in_federation(&self, kind: &str, name: &str, wanted: i64) -> anyhow::Result<()> {
        let path = "jsonpath={.spec.replicas}/{.status.replicas}/{.status.readyReplicas}";
        self.stage
            .wait(&format!("{kind} {name} has {wanted} ready replicas"), WHILE, || async {
                let text = self.stage.ask(FEDERATION, &["get", kind, name, "-o", path]).await?;
                let good = text == format!("{wanted}/{wanted}/{wanted}");
                Ok(if good {
                    Ok(format!("{kind} {name}: {wanted}/{wanted} ready"))
                } else {
                    Err(text)
                })
            })
            .await
    }

    async fn ready_in_member(&self, cluster: &str, what: &str, wanted: i64) -> anyhow::Result<()> {
        let path = "jsonpath={.spec.replicas}/{.status.readyReplicas}";
        self.stage
            .wait(
                &format!("{what} has {wanted} ready replicas in {cluster}"),
                WHILE,
                || async {
                    let text = self.stage.ask(cluster, &["get", what, "-o", path]).await?;
                    let good = text == format!("{wanted}/{wanted}") || (wanted == 0 && text.starts_with("0/"));
                    Ok(if good {
                        Ok(format!("{cluster}: {what} has {wanted} of {wanted}"))
                    } else {
                        Err(text)
                    })
                },
            )
            .await
    }

    async fn serve(&self) -> anyhow::Result<String> {
        self.stage.chapter("One address, the nearest cluster answers");
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}:{.status.loadBalancer.ingress[0].ports[0].port}";
        self.stage
            .wait("the Ingress gets an address", SOON, || async {
                let text = self
                    .stage
                    .ask(FEDERATION, &["get", "ingress", "hello", "-o", path])
                    .await?;
                Ok(if text.len() > 1 {
                    Ok(format!("the Ingress has the address {text}"))
                } else {
                    Err(text)
                })
            })
            .await?;
        self.stage.kubectl(FEDERATION, &["get", "ingress"]).await?;
        let address = self
            .stage
            .ask(FEDERATION, &["get", "ingress", "hello", "-o", path])
            .await?;
        let url = format!("http://{address}/");
        for (source, nearest) in CLIENTS {
            self.answered_by(source, &url, nearest).await?;
            let text = self.stage.curl(source, &url).await?;
            for key in ["pod", "node", "zone", "region", "cluster"] {
                ensure!(
                    field(&text, key).is_some(),
                    "the answer does not tell the {key}: {text}"
                );
            }
            ensure!(
                field(&text, "cluster") == Some(nearest),
                "{source} was not answered by {nearest}: {text}"
            );
        }
        Ok(url)
    }

    async fn answered_by(&self, source: &str, url: &str, cluster: &str) -> anyhow::Result<()> {
        self.stage
            .wait(&format!("{source} is answered by {cluster}"), WHILE, || async {
                let answer = client::get(source, url).await?;
                let good = answer.status == 200 && field(&answer.body, "cluster") == Some(cluster);
                Ok(if good {
                    Ok(format!("{source} is answered by {cluster}"))
                } else {
                    Err(answer.body)
                })
            })
            .await
    }

    async fn scale_out(&self) -> anyhow::Result<()> {
        self.stage.chapter("Two more clusters, a thousand replicas");
        let all = [US, EUROPE, ASIA, LATER[0], LATER[1]];
        self.up(&all).await?;
        self.show_clusters(&all).await?;
        self.stage
            .kubectl(FEDERATION, &["scale", "rs", "hello", "--replicas=1000"])
            .await?;
        self.ready_in_federation("rs", "hello", 1000).await?;
        for cluster in all {
            self.ready_in_member(cluster, "rs/hello", 200).await?;
        }
        self.stage.kubectl(FEDERATION, &["get", "rs"]).await?;
        Ok(())
    }

    async fn lose_and_regain_europe(&self, url: &str) -> anyhow::Result<()> {
        self.stage.chapter("Europe is lost");
        let visitor = Visitor::start("127.2.0.1", url.to_owned());
        let state = State::expect(&self.stage.dir)?;
        let europe = state
            .clusters
            .iter()
            .find(|c| c.name == EUROPE)
            .context("no European cluster")?;
        for process in &europe.processes {
            println!("$ kill -9 {}   # {} of {EUROPE}", process.pid, process.role);
            process.kill();
        }
        let killed = Instant::now();
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.judge(&visitor, killed)?;
        self.stage
            .wait("the lost cluster's replicas run elsewhere", WHILE, || async {
                let mut sum = 0;
                for cluster in [US, ASIA, LATER[0], LATER[1]] {
                    let path = "jsonpath={.status.readyReplicas}";
                    let text = self.stage.ask(cluster, &["get", "rs", "hello", "-o", path]).await?;
                    sum += text.parse::<i64>().unwrap_or(0);
                }
                Ok(if sum == 1000 {
                    Ok("1000 replicas run in the other four".into())
                } else {
                    Err(sum.to_string())
                })
            })
            .await?;
        self.stage.kubectl(FEDERATION, &["get", "clusters"]).await?;
        self.judge(&visitor, killed)?;
        drop(visitor);

        self.stage.chapter("Europe is back");
        self.up(&[US, EUROPE, ASIA, LATER[0], LATER[1]]).await?;
        self.answered_by("127.2.0.1", url, EUROPE).await?;
        for cluster in [EUROPE, US, ASIA, LATER[0], LATER[1]] {
            self.ready_in_member(cluster, "rs/hello", 200).await?;
        }
        self.ready_in_federation("rs", "hello", 1000).await
    }

    /// No request fails later than two seconds after the kill, and somebody else answers.
    fn judge(&self, visitor: &Visitor, killed: Instant) -> anyhow::Result<()> {
        let observations = visitor.observations();
        let failures: Vec<_> = observations.iter().filter(|o| o.outcome.is_err()).collect();
        let late = failures.iter().find(|o| o.at > killed + Duration::from_secs(2));
        if let Some(late) = late {
            let after = late.at.duration_since(killed).as_secs_f64();
            bail!(
                "a request failed {after:.1} s after the cluster was killed: {:?}",
                late.outcome
            );
        }
        let other = observations
            .iter()
            .find(|o| o.at > killed && o.outcome.as_ref().is_ok_and(|c| c != EUROPE));
        let other = other.context("nobody answered in Europe's place")?;
        let after = other.at.duration_since(killed).as_secs_f64();
        ensure!(after <= 2.0, "it took {after:.1} s until another cluster answered");
        let by = other.outcome.as_deref().unwrap_or_default();
        let count = observations.len();
        let failed = failures.len();
        self.stage.seen(&format!(
            "{by} answered {after:.2} s after the kill; {failed} of {count} requests failed"
        ));
        Ok(())
    }

    async fn other_kinds(&self) -> anyhow::Result<()> {
        self.stage.chapter("A Deployment, a DaemonSet and a ConfigMap");
        let extras = self.manifest("extras.yaml");
        self.stage.kubectl(FEDERATION, &["create", "-f", &extras]).await?;
        self.stage
            .kubectl(FEDERATION, &["rollout", "status", "deployment/shop", "--timeout=60s"])
            .await?;
        self.ready_in_federation("deployment", "shop", 9).await?;
        self.in_every_cluster("ds/agent", "jsonpath={.status.numberReady}", "3")
            .await?;
        self.in_every_cluster("configmap/greeting", "jsonpath={.data.text}", "hello")
            .await?;

        self.stage
            .kubectl(FEDERATION, &["set", "image", "deployment/shop", "web=nginx:1.29"])
            .await?;
        self.stage
            .kubectl(FEDERATION, &["rollout", "status", "deployment/shop", "--timeout=60s"])
            .await?;
        let image = "jsonpath={.spec.template.spec.containers[0].image} {.status.unavailableReplicas}";
        self.in_every_cluster("deployment/shop", image, "nginx:1.29 ").await?;
        let patch = r#"{"data":{"text":"hello again"}}"#;
        self.stage
            .kubectl(FEDERATION, &["patch", "configmap", "greeting", "-p", patch])
            .await?;
        self.in_every_cluster("configmap/greeting", "jsonpath={.data.text}", "hello again")
            .await?;

        self.stage
            .kubectl(FEDERATION, &["delete", "deployment/shop", "ds/agent"])
            .await?;
        for what in ["deployment/shop", "ds/agent"] {
            self.in_every_cluster(what, "name", "").await?;
        }
        self.stage
            .kubectl(FEDERATION, &["delete", "configmap/greeting", "--cascade=orphan"])
            .await?;
        let left = self
            .stage
            .ask(FEDERATION, &["get", "configmap/greeting", "--ignore-not-found"])
            .await?;
        ensure!(left.is_empty(), "the ConfigMap is still there: {left}");
        self.in_every_cluster("configmap/greeting", "jsonpath={.data.text}", "hello again")
            .await
    }

    /// Waits until every cluster shows the same for an object.
    async fn in_every_cluster(&self, what: &str, output: &str, wanted: &str) -> anyhow::Result<()> {
        for cluster in [US, EUROPE, ASIA, LATER[0], LATER[1]] {
            self.stage
                .wait(&format!("{what} shows {wanted:?} in {cluster}"), SOON, || async {
                    let text = self
                        .stage
                        .ask(cluster, &["get", what, "-o", output, "--ignore-not-found"])
                        .await?;
                    let shown = if wanted.is_empty() {
                        "is gone".into()
                    } else {
                        format!("shows {wanted:?}")
                    };
                    Ok(if text == wanted {
                        Ok(format!("{cluster}: {what} {shown}"))
                    } else {
                        Err(text)
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn leave(&self) -> anyhow::Result<()> {
        self.stage.chapter("Leaving");
        let state = State::expect(&self.stage.dir)?;
        let host = format!("--host-cluster-context={US}");
        self.stage.kubefed(&["unjoin", LATER[1], &host]).await?;
        let left = self.stage.kubectl(FEDERATION, &["get", "clusters"]).await?;
        ensure!(!left.contains(LATER[1]), "{} is still listed", LATER[1]);
        self.ready_in_member(LATER[1], "rs/hello", 200)
            .await
            .context("unjoin must leave workloads running")?;
        self.stage
            .kubefed(&["local", "down", "--dir", self.dir()?, "--delete-data"])
            .await?;
        for process in state.clusters.iter().flat_map(|c| &c.processes) {
            ensure!(!process.is_alive(), "{} (pid {}) still runs", process.role, process.pid);
        }
        let strays = processes_mentioning(self.dir()?)?;
        ensure!(strays.is_empty(), "still running: {strays:?}");
        ensure!(!self.stage.dir.exists(), "{} is still there", self.stage.dir.display());
        self.stage.seen("nothing is left running, and no file is left");
        Ok(())
    }
}

/// Other processes whose command line names the directory.
fn processes_mentioning(dir: &str) -> anyhow::Result<Vec<String>> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot list processes")? {
        let entry = entry.context("cannot list processes")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // A process may end while it is looked at.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(dir) && line.contains("federation") {
            found.push(line);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_manifests_are_valid_yaml() {
        for (name, text) in MANIFESTS {
            for document in text.split("\n---\n") {
                let value: Value = serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(value["kind"].is_string(), "{name}");
            }
        }
    }
}
