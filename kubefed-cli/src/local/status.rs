//! `kubefed local status`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::process::Process;
use super::state::kubeconfig_of;
use super::{Place, State};

/// Show clusters, addresses and processes.
#[derive(Args, Clone)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// How to print it: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let dir = args.place.path()?;
    let state = State::expect(&dir)?;
    if args.output == "json" {
        println!("{:#}", json(&dir, &state));
    } else {
        println!("{}", text(&dir, &state));
    }
    Ok(ExitCode::SUCCESS)
}

fn json(dir: &Path, state: &State) -> Value {
    let clusters: Vec<Value> = state
        .clusters
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "region": c.region(), "zone": c.name,
                "server": format!("https://127.0.0.1:{}", c.port), "podCIDR": c.pod_cidr,
                "running": c.processes.iter().any(Process::is_alive),
                "pids": c.processes.iter().filter(|p| p.is_alive()).map(|p| p.pid).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "kubeconfig": kubeconfig_of(dir),
        "ingress": {
            "http": format!("http://127.0.0.1:{}", state.http_port),
            "https": format!("https://127.0.0.1:{}", state.https_port),
        },
        "clusters": clusters,
    })
}

/// The status for people.
pub(crate) fn text(dir: &Path, state: &State) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<24} {:<18} {:<10} {:<24} PODS",
        "CLUSTER", "REGION", "STATE", "SERVER"
    );
    for c in &state.clusters {
        let running = if c.processes.iter().any(Process::is_alive) {
            "running"
        } else {
            "stopped"
        };
        let server = format!("https://127.0.0.1:{}", c.port);
        let _ = writeln!(
            text,
            "{:<24} {:<18} {running:<10} {server:<24} {}",
            c.name,
            c.region(),
            c.pod_cidr
        );
    }
    let _ = writeln!(
        text,
        "\nIngress:  http://127.0.0.1:{} and https://127.0.0.1:{}",
        state.http_port, state.https_port
    );
    let _ = write!(
        text,
        "Use it:   export KUBECONFIG={}\n          kubectl --context=federation get clusters",
        kubeconfig_of(dir).display()
    );
    text
}
