//! How a plan is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use planner::Plan;
use serde_json::{Value, json};

/// The plan of one object.
pub(crate) struct Report {
    pub(crate) object: String,
    pub(crate) replicas: i64,
    /// Replicas per cluster now.
    pub(crate) current: BTreeMap<String, i64>,
    pub(crate) plan: Plan,
}

impl Report {
    fn now(&self, cluster: &str) -> i64 {
        self.current.get(cluster).copied().unwrap_or(0)
    }

    /// Whether any cluster would get another number than it has.
    pub(crate) fn changes_something(&self) -> bool {
        self.clusters().iter().any(|c| self.now(c) != self.plan.desired(c))
    }

    fn clusters(&self) -> BTreeSet<&str> {
        self.plan
            .reasons
            .keys()
            .chain(self.current.keys())
            .map(String::as_str)
            .collect()
    }

    /// Replicas that start somewhere while others of the same object stop elsewhere.
    fn moved(&self) -> i64 {
        let (mut more, mut fewer) = (0, 0);
        for cluster in self.clusters() {
            let change = self.plan.desired(cluster) - self.now(cluster);
            more += change.max(0);
            fewer += (-change).max(0);
        }
        more.min(fewer)
    }

    fn json(&self) -> Value {
        json!({
            "object": self.object, "replicas": self.replicas,
            "plan": self.plan.replicas, "overflow": self.plan.overflow, "reasons": self.plan.reasons,
            "current": self.current, "moved": self.moved(), "unplaced": self.plan.unplaced(self.replicas),
        })
    }

    fn table(&self) -> String {
        let mut text = format!("{}: {} replicas\n", self.object, self.replicas);
        let width = self
            .clusters()
            .iter()
            .map(|c| c.len())
            .max()
            .unwrap_or(0)
            .max("CLUSTER".len());
        let _ = writeln!(
            text,
            "{:<width$}  {:>8}  {:>8}  {:>8}  REASON",
            "CLUSTER", "NOW", "PLANNED", "OVERFLOW"
        );
        for cluster in self.clusters() {
            let of = |map: &BTreeMap<String, i64>| map.get(cluster).copied().unwrap_or(0);
            let reason = self.plan.reasons.get(cluster).map_or("", String::as_str);
            let (planned, overflow) = (of(&self.plan.replicas), of(&self.plan.overflow));
            let _ = writeln!(
                text,
                "{cluster:<width$}  {:>8}  {planned:>8}  {overflow:>8}  {reason}",
                self.now(cluster)
            );
        }
        let _ = write!(
            text,
            "{} moved, {} unplaced",
            self.moved(),
            self.plan.unplaced(self.replicas)
        );
        text
    }
}

/// All reports in the wanted form. A single one is an object, several are a list of `items`.
pub(crate) fn print(reports: &[Report], output: &str) -> anyhow::Result<String> {
    if output == "table" {
        return Ok(reports.iter().map(Report::table).collect::<Vec<_>>().join("\n\n"));
    }
    let value = match reports {
        [one] => one.json(),
        many => json!({"items": many.iter().map(Report::json).collect::<Vec<_>>()}),
    };
    match output {
        "yaml" => serde_saphyr::to_string(&value).context("cannot print the plan"),
        _ => Ok(format!("{value:#}")),
    }
}
