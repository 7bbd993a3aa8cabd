//! The state of a pod in one word, as `kubectl get pods` shows it.

use apimachinery::Object;
use jiff::Timestamp;
use serde_json::Value;

use super::{since, time};
use crate::json::{absent, flag, int, items, text};

/// What the row of a pod says.
pub(crate) struct Summary {
    /// Containers that are ready, sidecars included.
    pub(crate) ready: usize,
    /// Containers there are, sidecars included.
    pub(crate) containers: usize,
    /// `Running`, `CrashLoopBackOff`, `Init:0/1`…
    pub(crate) status: String,
    /// Number of restarts and, if known, when the last one was.
    pub(crate) restarts: String,
}

/// Restarts counted so far, and when the last container ended before one.
#[derive(Clone, Default)]
struct Restarts {
    count: i64,
    last: Option<(Timestamp, Value)>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += int(&container["restartCount"]);
        let finished = &container["lastState"]["terminated"]["finishedAt"];
        if let Some(at) = time(finished)
            && self.last.as_ref().is_none_or(|(last, _)| *last < at)
        {
            self.last = Some((at, finished.clone()));
        }
    }

    fn show(&self, now: Timestamp) -> String {
        match &self.last {
            Some((_, at)) if self.count != 0 => format!("{} ({} ago)", self.count, since(at, now)),
            _ => self.count.to_string(),
        }
    }
}

/// Sums a pod up.
pub(crate) fn summarize(pod: &Object, now: Timestamp) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecar = |name: &Value| {
        items(&spec["initContainers"])
            .iter()
            .any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    let sidecars = items(&spec["initContainers"])
        .iter()
        .filter(|c| sidecar(&c["name"]))
        .count();
    let mut summary = Summary {
        ready: 0,
        containers: items(&spec["containers"]).len() + sidecars,
        status: initial_status(status),
        restarts: String::new(),
    };

    let mut restarts = Restarts::default();
    let mut sidecar_restarts = Restarts::default();
    let mut initializing = false;
    for (index, container) in items(&status["initContainerStatuses"]).iter().enumerate() {
        restarts.add(container);
        let is_sidecar = sidecar(&container["name"]);
        if is_sidecar {
            sidecar_restarts.add(container);
        }
        let terminated = &container["state"]["terminated"];
        if !absent(terminated) && int(&terminated["exitCode"]) == 0 {
            continue;
        }
        if is_sidecar && flag(&container["started"]) {
            summary.ready += usize::from(flag(&container["ready"]));
            continue;
        }
        summary.status = init_status(container, index, items(&spec["initContainers"]).len());
        initializing = true;
        break;
    }

    if !initializing || condition_is_true(status, "Initialized") {
        restarts = sidecar_restarts;
        main_containers(status, &mut summary, &mut restarts);
    }
    if !absent(&pod["metadata"]["deletionTimestamp"]) {
        let ended = matches!(text(&status["phase"]), "Succeeded" | "Failed");
        match text(&status["reason"]) {
            "NodeLost" => summary.status = "Unknown".to_owned(),
            _ if !ended => summary.status = "Terminating".to_owned(),
            _ => {}
        }
    }
    summary.restarts = restarts.show(now);
    summary
}

fn initial_status(status: &Value) -> String {
    let gated = items(&status["conditions"])
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    let reason = if gated {
        "SchedulingGated"
    } else {
        text(&status["reason"])
    };
    super::or(reason, text(&status["phase"])).to_owned()
}

fn init_status(container: &Value, index: usize, containers: usize) -> String {
    let state = &container["state"];
    let waiting = text(&state["waiting"]["reason"]);
    if !absent(&state["terminated"]) {
        format!("Init:{}", end_reason(&state["terminated"]))
    } else if !waiting.is_empty() && waiting != "PodInitializing" {
        format!("Init:{waiting}")
    } else {
        format!("Init:{index}/{containers}")
    }
}

fn end_reason(terminated: &Value) -> String {
    match (text(&terminated["reason"]), int(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", int(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn main_containers(status: &Value, summary: &mut Summary, restarts: &mut Restarts) {
    let mut running = false;
    let mut error = String::new();
    for container in items(&status["containerStatuses"]).iter().rev() {
        restarts.add(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            summary.status = waiting.to_owned();
        } else if !absent(&state["terminated"]) {
            summary.status = end_reason(&state["terminated"]);
            if int(&state["terminated"]["exitCode"]) != 0 {
                error.clone_from(&summary.status);
            }
        } else if flag(&container["ready"]) && !absent(&state["running"]) {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" {
        if running && condition_is_true(status, "Ready") {
            summary.status = "Running".to_owned();
        } else if !error.is_empty() {
            summary.status = error;
        } else if running {
            summary.status = "NotReady".to_owned();
        }
    }
}

fn condition_is_true(status: &Value, kind: &str) -> bool {
    items(&status["conditions"])
        .iter()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(spec: Value, status: Value) -> (String, String, String) {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let summary = summarize(&json!({"metadata": {}, "spec": spec, "status": status}), now);
        (
            format!("{}/{}", summary.ready, summary.containers),
            summary.status,
            summary.restarts,
        )
    }

    fn row(ready: &str, status: &str, restarts: &str) -> (String, String, String) {
        (ready.to_owned(), status.to_owned(), restarts.to_owned())
    }

    #[test]
    fn a_running_pod_is_running_and_counts_ready_containers() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let status = json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}},
            {"name": "b", "ready": false, "restartCount": 0, "state": {"running": {}}},
        ]});
        assert_eq!(shown(spec, status), row("1/2", "Running", "2 (5m ago)"));
    }

    #[test]
    fn a_waiting_container_gives_its_reason() {
        let status = json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
        assert_eq!(
            shown(json!({"containers": [{}]}), status),
            row("0/1", "CrashLoopBackOff", "3")
        );
    }

    #[test]
    fn ended_containers_give_reason_signal_or_exit_code() {
        for (terminated, expected) in [
            (json!({"exitCode": 1, "reason": "Error"}), "Error"),
            (json!({"exitCode": 137, "signal": 9}), "Signal:9"),
            (json!({"exitCode": 3}), "ExitCode:3"),
        ] {
            let status = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]});
            assert_eq!(shown(json!({"containers": [{}]}), status).1, expected);
        }
    }

    #[test]
    fn a_completed_sidecar_does_not_hide_running_containers() {
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"ready": true, "state": {"running": {}}}]});
        assert_eq!(shown(json!({"containers": [{}, {}]}), status).1, "Running");
    }

    #[test]
    fn init_containers_are_counted_until_they_are_done() {
        let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{}]});
        let status = |second: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "restartCount": 1, "state": second}]})
        };
        assert_eq!(
            shown(spec.clone(), status(json!({"running": {}}))),
            row("0/1", "Init:1/2", "1")
        );
        assert_eq!(
            shown(spec.clone(), status(json!({"terminated": {"exitCode": 2}}))).1,
            "Init:ExitCode:2"
        );
        assert_eq!(
            shown(spec, status(json!({"waiting": {"reason": "ErrImagePull"}}))).1,
            "Init:ErrImagePull"
        );
    }

    #[test]
    fn a_sidecar_that_runs_counts_as_a_container() {
        let spec = json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
        let status = json!({"phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 4, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}}]});
        assert_eq!(shown(spec, status), row("2/2", "Running", "5"));
    }

    #[test]
    fn a_deleted_pod_is_terminating_unless_it_ended() {
        let now = Timestamp::UNIX_EPOCH;
        let pod = |phase: &str| json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": phase}});
        assert_eq!(summarize(&pod("Running"), now).status, "Terminating");
        assert_eq!(summarize(&pod("Succeeded"), now).status, "Succeeded");
    }

    #[test]
    fn a_gated_pod_says_so() {
        let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
        assert_eq!(shown(json!({"containers": [{}]}), status).1, "SchedulingGated");
    }
}
