//! How a plan is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use planner::availability::Availability;
use planner::placement::{ClusterView, Demand, place};
use planner::{ClusterInput, Plan};
use serde_json::{Value, json};

/// The plan of one object.
pub(crate) struct Report {
    object: String,
    replicas: i64,
    /// Replicas per cluster now.
    current: BTreeMap<String, i64>,
    /// Replicas that each cluster would be told to have at once, where moves are to be made in steps.
    next: BTreeMap<String, i64>,
    /// Replicas of this object for which there is room when the plan is carried out, where that is known.
    room: BTreeMap<String, i64>,
    unplaced: i64,
    /// Where all is to be in the end.
    pub(crate) plan: Plan,
}

impl Report {
    /// As the controller would place the object now.
    pub(crate) fn of_placement(object: String, demand: &Demand<'_>, views: &[ClusterView]) -> Self {
        let placement = place(demand, views);
        let mut plan = Plan {
            overflow: placement.overflow,
            reasons: placement.reasons,
            ..Plan::default()
        };
        let mut next = BTreeMap::new();
        for view in views {
            let name = view.name();
            let now = view.replicas.unwrap_or(0);
            let told = placement.shares.get(name).map(|share| share.replicas);
            let (told, end) = match told {
                // What an autoscaler decides stays as it is.
                Some(None) => (now, now),
                Some(Some(told)) => (told, placement.wanted.get(name).copied().unwrap_or(told)),
                None => (0, 0),
            };
            next.insert(name.to_owned(), told);
            let overflow = plan.overflow.get(name).copied().unwrap_or(0);
            plan.replicas.insert(name.to_owned(), end - overflow);
        }
        let report = Self {
            object,
            next,
            unplaced: placement.unplaced,
            ..Self::of_plan(demand, views, plan)
        };
        report.with_reasons(views)
    }

    /// As the planner splits the replicas over clusters of which nothing more is known.
    pub(crate) fn of_split(object: String, demand: &Demand<'_>, views: &[ClusterView]) -> Self {
        let replicas = demand.total.replicas.unwrap_or(1);
        let taking = views
            .iter()
            .filter(|v| v.selected && v.availability == Availability::Ready);
        let plan = planner::plan(&planner::Input {
            key: demand.key,
            replicas,
            preferences: demand.preferences,
            requests: Some(demand.requests),
            clusters: taking
                .map(|view| ClusterInput {
                    current: view.cluster.current.or(view.replicas),
                    ..view.cluster.clone()
                })
                .collect(),
        });
        let unplaced = plan.unplaced(replicas);
        let report = Self {
            object,
            unplaced,
            ..Self::of_plan(demand, views, plan)
        };
        report.with_reasons(views)
    }

    fn of_plan(demand: &Demand<'_>, views: &[ClusterView], plan: Plan) -> Self {
        let now = |view: &ClusterView| view.cluster.current.or(view.replicas).unwrap_or(0);
        let room = views.iter().filter_map(|view| {
            let more = plan.desired(view.name()) - now(view);
            let (fits, _) = view.cluster.free?.plus(demand.requests, -more).fits(demand.requests);
            Some((view.name().to_owned(), fits))
        });
        Self {
            object: String::new(),
            replicas: demand.total.replicas.unwrap_or(1),
            current: views.iter().map(|view| (view.name().to_owned(), now(view))).collect(),
            next: BTreeMap::new(),
            room: room.collect(),
            unplaced: 0,
            plan,
        }
    }

    /// Adds why clusters got nothing of which the plan says nothing.
    fn with_reasons(mut self, views: &[ClusterView]) -> Self {
        for view in views {
            let why = match view.availability {
                _ if !view.selected => "its labels do not match the cluster selector",
                Availability::Ready => continue,
                _ => "not ready",
            };
            self.plan
                .reasons
                .entry(view.name().to_owned())
                .or_insert_with(|| why.to_owned());
        }
        self
    }

    fn now(&self, cluster: &str) -> i64 {
        self.current.get(cluster).copied().unwrap_or(0)
    }

    /// Replicas that a cluster is to have in the end.
    pub(crate) fn planned(&self, cluster: &str) -> i64 {
        self.plan.desired(cluster)
    }

    /// Whether any cluster would get another number than it has.
    pub(crate) fn changes_something(&self) -> bool {
        self.clusters().iter().any(|c| self.now(c) != self.planned(c))
    }

    /// Whether some replicas have to wait for others.
    fn has_steps(&self) -> bool {
        self.next.iter().any(|(cluster, next)| *next != self.planned(cluster))
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
            let change = self.planned(cluster) - self.now(cluster);
            more += change.max(0);
            fewer += (-change).max(0);
        }
        more.min(fewer)
    }

    fn json(&self) -> Value {
        let mut report = json!({
            "object": self.object, "replicas": self.replicas,
            "plan": self.plan.replicas, "overflow": self.plan.overflow, "reasons": self.plan.reasons,
            "current": self.current, "moved": self.moved(), "unplaced": self.unplaced, "room": self.room,
        });
        if self.has_steps() {
            report["next"] = json!(self.next);
        }
        report
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
        // A column for the next step only where there is more than one.
        let step = |value: &str| {
            if self.has_steps() {
                format!("  {value:>8}")
            } else {
                String::new()
            }
        };
        let _ = writeln!(
            text,
            "{:<width$}  {:>8}{}  {:>8}  {:>8}  {:>8}  REASON",
            "CLUSTER",
            "NOW",
            step("NEXT"),
            "PLANNED",
            "OVERFLOW",
            "ROOM"
        );
        for cluster in self.clusters() {
            let of = |map: &BTreeMap<String, i64>| map.get(cluster).copied().unwrap_or(0);
            let reason = self.plan.reasons.get(cluster).map_or("", String::as_str);
            let (planned, overflow) = (of(&self.plan.replicas), of(&self.plan.overflow));
            let room = self.room.get(cluster).map_or_else(|| "-".to_owned(), i64::to_string);
            let _ = writeln!(
                text,
                "{cluster:<width$}  {:>8}{}  {planned:>8}  {overflow:>8}  {room:>8}  {reason}",
                self.now(cluster),
                step(&of(&self.next).to_string()),
            );
        }
        let _ = write!(text, "{} moved, {} unplaced", self.moved(), self.unplaced);
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
