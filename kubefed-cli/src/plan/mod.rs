//! `kubefed plan`: what would run where, and why, by the very code the controllers use.
//!
//! Offline (`--clusters-file`) it needs nothing but two files. Online it asks the federation for its clusters and for
//! what runs in them now, and tells by its exit status whether anything would change: 0 nothing, 2 something.

mod input;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use api::cluster_selector::ClusterSelector;
use api::preferences::Preferences;
use clap::Args;
use planner::availability::Availability;
use planner::placement::{ClusterView, Demand, Scaling};
use planner::{Resources, Share};
use serde_json::{Value, json};

use crate::Common;
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
    /// Time without an answer after which the federation gives a cluster up, as its controller manager is told
    #[arg(long, default_value = "60s", value_parser = apimachinery::duration::parse)]
    cluster_lost_after: Duration,
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
            (Some(federation), _) => federation.clusters(manifest, args.cluster_lost_after).await?,
            (None, Some(file)) => input::clusters_file(file)?,
            (None, None) => Vec::new(),
        };
        reports.extend(plan(manifest, supposed(clusters, &args), online.is_some())?);
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
fn supposed(mut clusters: Vec<ClusterView>, args: &PlanArgs) -> Vec<ClusterView> {
    for view in &mut clusters {
        if args.cluster_down.iter().any(|down| down == view.name()) {
            view.availability = Availability::Lost;
        }
    }
    for name in &args.join {
        if !clusters.iter().any(|c| c.name() == name) {
            let input = planner::ClusterInput {
                name: name.clone(),
                ..planner::ClusterInput::default()
            };
            clusters.push(ClusterView::new(input, Availability::Ready));
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

/// The plan of one object; `None` if it has nothing to split. `live`: the clusters are those of a federation, with
/// what runs there.
fn plan(manifest: &Value, clusters: Vec<ClusterView>, live: bool) -> anyhow::Result<Option<Report>> {
    let Some(replicas) = replicas(manifest) else {
        return Ok(None);
    };
    let name = manifest["metadata"]["name"]
        .as_str()
        .context("a manifest has no metadata.name")?;
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
    let key = format!("{namespace}/{name}");
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let of_object = || format!("{kind} {key}");
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
    let views: Vec<ClusterView> = clusters
        .into_iter()
        .map(|view| ClusterView {
            selected: selector.matches(&json!(view.cluster.labels)),
            ..view
        })
        .collect();
    let total = Share {
        replicas: Some(replicas),
        start: manifest["spec"]["ordinals"]["start"].as_i64(),
        ..Share::default()
    };
    let demand = Demand {
        scaling: Scaling::Replicas {
            preferences: "",
            ordinals: kind == "StatefulSet",
        },
        key: &key,
        total: &total,
        preferences: &preferences,
        requests: Resources::of_pod(&manifest["spec"]["template"]["spec"]),
    };
    Ok(Some(if live && kind != "Job" {
        Report::of_placement(of_object(), &demand, &views)
    } else {
        Report::of_split(of_object(), &demand, &views)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, label: &str) -> ClusterView {
        let input = planner::ClusterInput {
            name: name.into(),
            labels: [("env".to_owned(), label.to_owned())].into(),
            ..planner::ClusterInput::default()
        };
        ClusterView::new(input, Availability::Ready)
    }

    /// A cluster that runs so many replicas, all ready.
    fn running(name: &str, replicas: i64) -> ClusterView {
        ClusterView {
            replicas: Some(replicas),
            ready: replicas,
            existing: replicas,
            ..named(name, "prod")
        }
    }

    fn deployment(replicas: i64) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas}})
    }

    #[test]
    fn a_cluster_that_does_not_answer_keeps_its_share_until_it_is_lost() {
        let silent = |availability| ClusterView {
            availability,
            ..running("a", 2)
        };
        let planned = |availability| {
            let report = plan(&deployment(4), vec![silent(availability), running("b", 2)], true);
            let report = report.unwrap().unwrap();
            (report.planned("a"), report.planned("b"), report.changes_something())
        };
        let unreachable = Availability::Unreachable {
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(planned(unreachable), (2, 2, false));
        assert_eq!(planned(Availability::Lost), (0, 4, true));
    }

    #[test]
    fn replicas_that_an_autoscaler_decides_on_are_not_planned_away() {
        let autoscaled = ClusterView {
            scaler: planner::placement::Scaler::Member,
            home: Some(2),
            ..running("a", 7)
        };
        let report = plan(&deployment(4), vec![autoscaled, running("b", 2)], true)
            .unwrap()
            .unwrap();
        assert_eq!((report.planned("a"), report.planned("b")), (7, 2));
        assert!(!report.changes_something());
        assert!(report.plan.reasons["a"].contains("autoscaler"));
    }

    #[test]
    fn a_move_is_shown_with_its_next_step_and_what_room_is_left() {
        let drained = ClusterView {
            cluster: planner::ClusterInput {
                taints: vec![planner::Taint {
                    key: "x".into(),
                    effect: "NoExecute".into(),
                    ..planner::Taint::default()
                }],
                ..running("a", 2).cluster
            },
            ..running("a", 2)
        };
        let roomy = ClusterView {
            cluster: planner::ClusterInput {
                free: Some(Resources {
                    cpu: 1000,
                    memory: 1 << 30,
                    pods: 10,
                }),
                ..running("b", 2).cluster
            },
            ..running("b", 2)
        };
        let mut manifest = deployment(4);
        manifest["spec"]["template"]["spec"] = json!({"containers": [{"resources": {"requests": {"cpu": "100m"}}}]});
        let report = plan(&manifest, vec![drained, roomy], true).unwrap().unwrap();
        let json: Value = serde_json::from_str(&report::print(&[report], "json").unwrap()).unwrap();
        assert_eq!(json["plan"], json!({"a": 0, "b": 4}));
        assert_eq!(json["next"], json!({"a": 2, "b": 4}), "surge first");
        assert_eq!(json["room"], json!({"b": 8}));
    }

    #[test]
    fn the_selector_leaves_clusters_out_and_says_so() {
        let manifest = json!({
            "kind": "ReplicaSet", "metadata": {"name": "web", "annotations": {
                "federation.alpha.kubernetes.io/cluster-selector": r#"[{"key":"env","operator":"in","values":["prod"]}]"#}},
            "spec": {"replicas": 4}});
        let report = plan(&manifest, vec![named("a", "prod"), named("b", "test")], false)
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
        let report = plan(&manifest, input::clusters_file(&file).unwrap(), false)
            .unwrap()
            .unwrap();
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
            plan(&json!({"kind": "ConfigMap", "metadata": {"name": "x"}}), vec![], false)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn wrong_preferences_are_an_error_that_names_the_object() {
        let manifest = json!({"kind": "ReplicaSet", "metadata": {"name": "web", "annotations": {
            "federation.kubernetes.io/replica-set-preferences": "{nonsense"}}, "spec": {}});
        let error = format!("{:#}", plan(&manifest, vec![], false).map(|_| ()).unwrap_err());
        assert!(error.starts_with("ReplicaSet default/web: "), "{error}");
    }
}
