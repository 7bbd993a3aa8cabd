//! `kubefed cordon`, `uncordon`, `drain`: taking a member out of service for a while, and back.
//!
//! All of it is a few fields of the Cluster object, which the controllers act on: a cordon keeps new replicas away;
//! the draining taint takes the traffic away with effect `NoSchedule`, and the replicas too with `NoExecute`. The
//! commands write these fields in order and watch what comes of it; they can be stopped and run again at any time.

mod usage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::well_known::TAINT_DRAINING;
use clap::Args;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::progress::wait_for;
use crate::{Common, federation, kubeconfig};
pub(crate) use usage::{replaced, replicas_in};

const POLL: Duration = Duration::from_millis(500);

/// The cluster to cordon or uncordon.
#[derive(Args, Clone)]
pub(crate) struct CordonArgs {
    /// Name of the cluster in the federation
    name: String,
}

/// Move everything out of a cluster: traffic first, then replicas.
#[derive(Args, Clone)]
pub(crate) struct DrainArgs {
    /// Name of the cluster in the federation
    name: String,
    /// Seconds for requests that are under way, between taking the traffic away and moving the replicas
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    grace_period: u64,
    /// Seconds to wait for the cluster to be empty; 0 does not wait
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

/// Connects to the federation of `--context`, or of the current context.
pub(crate) async fn connect(common: &Common) -> anyhow::Result<Client> {
    let config = kubeconfig::read(common)?;
    let context = common.context.clone().or(config.current_context.clone());
    let context = context.context("no current context: give --context, the context of the federation")?;
    kubeconfig::client(&config, &context).await
}

pub(crate) async fn cordon(common: &Common, args: CordonArgs) -> anyhow::Result<ExitCode> {
    let client = connect(common).await?;
    change(&client, &args.name, |spec| spec["unschedulable"] = json!(true)).await?;
    println!("cluster \"{}\" cordoned", args.name);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn uncordon(common: &Common, args: CordonArgs) -> anyhow::Result<ExitCode> {
    let client = connect(common).await?;
    change(&client, &args.name, |spec| {
        spec["unschedulable"] = Value::Null;
        set_taint(spec, TAINT_DRAINING, None);
    })
    .await?;
    println!("cluster \"{}\" uncordoned", args.name);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn drain(common: &Common, args: DrainArgs) -> anyhow::Result<ExitCode> {
    let client = connect(common).await?;
    let name = &args.name;
    let effect = move |effect: &'static str| {
        move |spec: &mut Value| {
            spec["unschedulable"] = json!(true);
            set_taint(spec, TAINT_DRAINING, Some(effect));
        }
    };
    let before = change(&client, name, |spec| spec["unschedulable"] = json!(true)).await?;
    println!("cluster \"{name}\" cordoned");
    // Who drains again what is half drained gets no traffic back in between.
    if taint(&before, TAINT_DRAINING) != Some("NoExecute") {
        change(&client, name, effect("NoSchedule")).await?;
        wait_for("its traffic to go elsewhere", Duration::from_secs(60), || async {
            Ok(usage::is_without_traffic(&client, name).await?.then_some(()))
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(args.grace_period)).await;
        println!("traffic goes elsewhere, where other clusters serve it");
        change(&client, name, effect("NoExecute")).await?;
    }
    await_empty(&client, name, Duration::from_secs(args.timeout)).await
}

/// Tells what is left whenever that changes, until nothing is.
async fn await_empty(client: &Client, name: &str, timeout: Duration) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut shown = None;
    loop {
        let left = replicas_in(client, name).await?;
        if left.is_empty() {
            let staying = usage::staying_in(client, name).await?;
            if staying.is_empty() {
                println!("cluster \"{name}\" is empty");
            } else {
                println!("cluster \"{name}\" has no replicas left; what stays:");
                staying.iter().for_each(|line| println!("  {line}"));
            }
            return Ok(ExitCode::SUCCESS);
        }
        if started.elapsed() >= timeout {
            eprintln!("cluster \"{name}\" is not empty:");
            for (object, replicas) in left {
                eprintln!("  {object}: {replicas} replicas stay until as many are ready elsewhere");
            }
            return Ok(ExitCode::FAILURE);
        }
        let sum: i64 = left.values().sum();
        if shown.replace(sum) != Some(sum) {
            println!("{sum} replicas of {} objects left", left.len());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Changes the specification of a Cluster. Returns what it was.
pub(crate) async fn change(client: &Client, name: &str, edit: impl Fn(&mut Value)) -> anyhow::Result<Value> {
    let clusters = federation::clusters(client);
    loop {
        let found = clusters.get_opt(name).await;
        let Some(cluster) = found.context("cannot read the federation's clusters")? else {
            bail!("cluster {name:?} is not in the federation")
        };
        let before = cluster.data["spec"].clone();
        let mut spec = before.clone();
        edit(&mut spec);
        let patch = json!({
            "metadata": {"resourceVersion": cluster.metadata.resource_version},
            "spec": {"unschedulable": spec["unschedulable"], "taints": spec["taints"]},
        });
        match clusters
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => return Ok(before),
            // The controller writes its status every few seconds.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("cannot change cluster {name:?}")),
        }
    }
}

/// Sets the effect of the taint with this key; `None` removes it.
pub(crate) fn set_taint(spec: &mut Value, key: &str, effect: Option<&str>) {
    let mut taints = spec["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(|taint| taint["key"] != key);
    if let Some(effect) = effect {
        taints.push(json!({"key": key, "effect": effect}));
    }
    spec["taints"] = if taints.is_empty() { Value::Null } else { json!(taints) };
}

fn taint<'a>(spec: &'a Value, key: &str) -> Option<&'a str> {
    let taints = spec["taints"].as_array()?;
    taints.iter().find(|t| t["key"] == key)?["effect"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_is_set_once_and_others_stay() {
        let mut spec = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]});
        set_taint(&mut spec, TAINT_DRAINING, Some("NoSchedule"));
        set_taint(&mut spec, TAINT_DRAINING, Some("NoExecute"));
        assert_eq!(taint(&spec, TAINT_DRAINING), Some("NoExecute"));
        assert_eq!(spec["taints"].as_array().unwrap().len(), 2);
        set_taint(&mut spec, TAINT_DRAINING, None);
        assert_eq!(spec, json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}));
        set_taint(&mut spec, "gpu", None);
        assert_eq!(spec, json!({"taints": null}), "as a merge patch removes it");
    }
}
