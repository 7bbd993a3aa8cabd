//! `kubefed plan`: what would run where, and why, by the very code the controllers use.
//!
//! Offline (`--clusters-file`) it needs nothing but two files. Online it asks the federation for its clusters and for
//! what runs in them now, and tells by its exit status whether anything would change: 0 nothing, 2 something.

mod input;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use api::cluster_selector::ClusterSelector;
use api::preferences::Preferences;
use clap::Args;
use serde_json::Value;

use crate::Common;
use input::Cluster;
use report::Report;

/// Show what would run where, and why.
#[derive(Args, Clone)]
pub(crate) struct PlanArgs {
    /// Manifests to plan, YAML or JSON; `-` reads standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// Plan for these clusters instead of the federation's: a YAML list `clusters` of {name, labels, current, capacity, region, zones, taints, unschedulable, allocatable, requested}; all but the name are optional
    #[arg(long, value_name = "FILE")]
    clusters_file: Option<PathBuf>,
    /// Plan as if this cluster were lost, repeatable
    #[arg(long, value_name = "NAME")]
    cluster_down: Vec<String>,
    /// Plan as if a cluster of this name joined, repeatable
    #[arg(long, value_name = "NAME")]
    join: Vec<String>,
    /// How to print it: table, json or yaml
    #[arg(short, long, default_value = "table", value_parser = ["table", "json", "yaml"])]
    output: String,
}

/// Exit status when the plan differs from what runs now.
const CHANGES: u8 = 2;

pub(crate) async fn run(common: &Common, args: PlanArgs) -> anyhow::Result<ExitCode> {
    let manifests = input::manifests(&args.filename)?;
    let online = match &args.clusters_file {
        Some(_) => None,
        None => Some(input::Federation::connect(common).await?),
    };
    let mut reports = Vec::new();
    for manifest in &manifests {
        let clusters = match (&online, &args.clusters_file) {
            (Some(federation), _) => federation.clusters(manifest).await?,
            (None, Some(file)) => input::clusters_file(file)?,
            (None, None) => Vec::new(),
        };
        reports.extend(plan(manifest, supposed(clusters, &args))?);
    }
    anyhow::ensure!(
        !reports.is_empty(),
        "{}: nothing in it has replicas to place",
        args.filename.display()
    );
    println!("{}", report::print(&reports, &args.output)?);
    let changes = online.is_some() && reports.iter().any(Report::changes_something);
    Ok(if changes {
        ExitCode::from(CHANGES)
    } else {
        ExitCode::SUCCESS
    })
}

/// The clusters as `--cluster-down` and `--join` would have them.
fn supposed(mut clusters: Vec<Cluster>, args: &PlanArgs) -> Vec<Cluster> {
    clusters.retain(|c| !args.cluster_down.iter().any(|down| down == c.name()));
    for name in &args.join {
        if !clusters.iter().any(|c| c.name() == name) {
            let input = planner::ClusterInput {
                name: name.clone(),
                ..planner::ClusterInput::default()
            };
            clusters.push(Cluster {
                input,
                unavailable: None,
            });
        }
    }
    clusters
}

/// How many replicas an object asks for; `None` for kinds that are copied whole.
fn replicas(manifest: &Value) -> Option<i64> {
    let field = match manifest["kind"].as_str()? {
        "ReplicaSet" | "Deployment" | "StatefulSet" => "replicas",
        "Job" => "parallelism",
        _ => return None,
    };
    Some(manifest["spec"][field].as_i64().unwrap_or(1))
}

fn plan(manifest: &Value, clusters: Vec<Cluster>) -> anyhow::Result<Option<Report>> {
    let Some(replicas) = replicas(manifest) else {
        return Ok(None);
    };
    let name = manifest["metadata"]["name"]
        .as_str()
        .context("a manifest has no metadata.name")?;
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
    let key = format!("{namespace}/{name}");
    let of_object = || format!("{} {key}", manifest["kind"].as_str().unwrap_or_default());
    let preferences = Preferences::of(manifest)
        .with_context(of_object)?
        .unwrap_or_else(Preferences::equal_shares);
    if let Some(problem) = preferences.problems().first() {
        anyhow::bail!(
            "{}: the preferences annotation: {}: {}",
            of_object(),
            problem.field,
            problem.detail
        );
    }
    let selector = ClusterSelector::of(manifest).with_context(of_object)?;
    let (selected, left_out): (Vec<_>, Vec<_>) = clusters
        .into_iter()
        .partition(|c| c.unavailable.is_none() && selector.matches(&c.labels_json()));
    let current = selected
        .iter()
        .chain(&left_out)
        .map(|c| (c.name().to_owned(), c.input.current.unwrap_or(0)))
        .collect();
    let input = planner::Input {
        key: &key,
        replicas,
        preferences: &preferences,
        requests: Some(planner::Resources::of_pod(&manifest["spec"]["template"]["spec"])),
        clusters: selected.into_iter().map(|cluster| cluster.input).collect(),
    };
    let mut plan = planner::plan(&input);
    for cluster in left_out {
        let why = cluster
            .unavailable
            .clone()
            .unwrap_or_else(|| "its labels do not match the cluster selector".into());
        plan.reasons.insert(cluster.input.name, why);
    }
    Ok(Some(Report {
        object: of_object(),
        replicas,
        current,
        plan,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(name: &str, label: &str) -> Cluster {
        Cluster {
            input: planner::ClusterInput {
                name: name.into(),
                labels: [("env".to_owned(), label.to_owned())].into(),
                ..planner::ClusterInput::default()
            },
            unavailable: None,
        }
    }

    #[test]
    fn the_selector_leaves_clusters_out_and_says_so() {
        let manifest = json!({
            "kind": "ReplicaSet", "metadata": {"name": "web", "annotations": {
                "federation.alpha.kubernetes.io/cluster-selector": r#"[{"key":"env","operator":"in","values":["prod"]}]"#}},
            "spec": {"replicas": 4}});
        let report = plan(&manifest, vec![named("a", "prod"), named("b", "test")])
            .unwrap()
            .unwrap();
        assert_eq!(report.plan.replicas["a"], 4);
        assert!(!report.plan.replicas.contains_key("b"));
        assert_eq!(report.plan.reasons["b"], "its labels do not match the cluster selector");
    }

    #[test]
    fn offline_clusters_have_taints_cordons_and_room() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("clusters.yaml");
        let text = r#"
clusters:
- name: small
  allocatable: {cpu: "2", memory: 4Gi, pods: "110"}
  requested: {cpu: "1"}
- name: large
  allocatable: {cpu: "64", memory: 256Gi, pods: "110"}
- name: tainted
  taints: [{key: gpu, effect: NoSchedule}]
- {name: cordoned, unschedulable: true, current: 1}
"#;
        std::fs::write(&file, text).unwrap();
        let manifest = json!({
            "kind": "Deployment", "metadata": {"name": "web", "annotations": {
                "federation.kubernetes.io/deployment-preferences": r#"{"clusters": {"*": {"weight": 1}}, "capacityAware": true}"#}},
            "spec": {"replicas": 9, "template": {"spec": {"containers": [{"resources": {"requests": {"cpu": "500m"}}}]}}}});
        let report = plan(&manifest, input::clusters_file(&file).unwrap()).unwrap().unwrap();
        assert_eq!(
            report
                .plan
                .replicas
                .iter()
                .map(|(n, r)| (n.as_str(), *r))
                .collect::<Vec<_>>(),
            [("cordoned", 1), ("large", 6), ("small", 2), ("tainted", 0)]
        );
        for (cluster, why) in [
            ("small", "(cpu)"),
            ("tainted", "gpu:NoSchedule"),
            ("cordoned", "cordoned"),
        ] {
            assert!(report.plan.reasons[cluster].contains(why), "{:?}", report.plan.reasons);
        }
    }

    #[test]
    fn kinds_that_are_copied_whole_have_no_plan() {
        assert!(
            plan(&json!({"kind": "ConfigMap", "metadata": {"name": "x"}}), vec![])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn wrong_preferences_are_an_error_that_names_the_object() {
        let manifest = json!({"kind": "ReplicaSet", "metadata": {"name": "web", "annotations": {
            "federation.kubernetes.io/replica-set-preferences": "{nonsense"}}, "spec": {}});
        let error = format!("{:#}", plan(&manifest, vec![]).map(|_| ()).unwrap_err());
        assert!(error.starts_with("ReplicaSet default/web: "), "{error}");
    }
}
