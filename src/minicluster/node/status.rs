//! The status of a pod, from what its containers do: pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::pods;

/// A container that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code; 128 + signal if a signal ended it.
    pub(crate) code: i32,
    /// When it had started.
    pub(crate) started: Timestamp,
    /// When it ended.
    pub(crate) finished: Timestamp,
    /// Why it could not even start.
    pub(crate) message: Option<String>,
}

impl Ended {
    /// As a status tells it; times that it lacks are now.
    pub(crate) fn of(terminated: &ContainerStateTerminated, now: Timestamp) -> Self {
        let time = |time: &Option<Time>| time.as_ref().map_or(now, |time| time.0);
        Self {
            code: terminated.exit_code,
            started: time(&terminated.started_at),
            finished: time(&terminated.finished_at),
            message: terminated.message.clone(),
        }
    }
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not started, or waiting to be started again.
    Waiting {
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: Option<String>,
    },
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended.
    Ended(Ended),
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerView {
    /// Its name.
    pub(crate) name: String,
    /// Its image.
    pub(crate) image: String,
    /// What it does.
    pub(crate) state: State,
    /// How it ended the last time.
    pub(crate) last: Option<Ended>,
    /// How often it was started again.
    pub(crate) restarts: i32,
    /// Whether its startup probe has passed.
    pub(crate) started: bool,
    /// Whether its readiness probe passes.
    pub(crate) ready: bool,
}

/// All that the node knows of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// The pod's address.
    pub(crate) ip: String,
    /// The node's address.
    pub(crate) host_ip: String,
    /// When the node took it.
    pub(crate) start: Timestamp,
    /// Its containers, in the order of the spec.
    pub(crate) containers: Vec<ContainerView>,
    /// Its init containers.
    pub(crate) init: Vec<ContainerView>,
}

/// The phase that the containers add up to.
fn phase(policy: &str, view: &PodView) -> &'static str {
    let containers = &view.containers;
    let ended = |view: &ContainerView| match &view.state {
        State::Ended(ended) => Some(ended.code),
        State::Waiting { .. } | State::Running { .. } => None,
    };
    if policy == "Never" && view.init.iter().filter_map(ended).any(|code| code != 0) {
        return "Failed";
    }
    let codes: Option<Vec<i32>> = containers.iter().map(ended).collect();
    match codes {
        Some(codes) if policy != "Always" && codes.iter().all(|code| *code == 0) => return "Succeeded",
        Some(_) if policy == "Never" => return "Failed",
        Some(_) | None => {}
    }
    let has_run =
        |view: &ContainerView| view.restarts > 0 || view.last.is_some() || !matches!(view.state, State::Waiting { .. });
    if containers.iter().all(has_run) {
        "Running"
    } else {
        "Pending"
    }
}

/// The status to report. Conditions of others, and the times of conditions that stay, are kept.
pub(crate) fn status(pod: &Pod, view: &PodView, now: Timestamp) -> PodStatus {
    let held = pod.status.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let declared = |name: &str| {
        let spec = spec?;
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.find(|container| container.name == name)
    };
    let phase = phase(policy, view);
    let unready: Vec<&str> = view
        .containers
        .iter()
        .filter(|view| !view.ready)
        .map(|view| view.name.as_str())
        .collect();
    let containers_ready = if phase == "Succeeded" {
        Err((Some("PodCompleted"), None))
    } else if phase == "Failed" {
        Err((Some("PodFailed"), None))
    } else if unready.is_empty() {
        Ok(())
    } else {
        Err((
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        ))
    };
    let gates = spec
        .and_then(|spec| spec.readiness_gates.as_deref())
        .unwrap_or_default();
    let gate = gates
        .iter()
        .find(|gate| pods::condition(pod, &gate.condition_type).is_none_or(|gate| gate.status != "True"));
    let ready = containers_ready.clone().and_then(|()| match gate {
        None => Ok(()),
        Some(gate) => {
            let message = format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            );
            Err((Some("ReadinessGatesNotReady"), Some(message)))
        }
    });
    let incomplete: Vec<&str> = view
        .init
        .iter()
        .filter(|init| !is_done(init, declared(&init.name)))
        .map(|init| init.name.as_str())
        .collect();
    let initialized = if incomplete.is_empty() {
        Ok(())
    } else {
        let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
        Err((Some("ContainersNotInitialized"), Some(message)))
    };
    // Nothing can start in a pod that has ended: its sandbox is gone.
    let sandbox = if matches!(phase, "Succeeded" | "Failed") {
        Err((None, None))
    } else {
        Ok(())
    };
    let mut conditions = Conditions {
        all: held.conditions.clone().unwrap_or_default(),
        generation: pod.metadata.generation,
        now,
    };
    conditions.set("PodReadyToStartContainers", sandbox);
    conditions.set("Initialized", initialized);
    conditions.set(pods::READY, ready);
    conditions.set("ContainersReady", containers_ready);
    conditions.set(pods::POD_SCHEDULED, Ok(()));
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let list = |views: &[ContainerView]| -> Vec<_> {
        views
            .iter()
            .map(|view| container(uid, view, declared(&view.name)))
            .collect()
    };
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions.all),
        host_ip: Some(view.host_ip.clone()),
        host_ips: Some(vec![HostIP {
            ip: view.host_ip.clone(),
        }]),
        pod_ip: Some(view.ip.clone()),
        pod_ips: Some(vec![PodIP { ip: view.ip.clone() }]),
        start_time: Some(held.start_time.unwrap_or(Time(view.start))),
        container_statuses: Some(list(&view.containers)),
        init_container_statuses: (!view.init.is_empty()).then(|| list(&view.init)),
        qos_class: held.qos_class,
        nominated_node_name: held.nominated_node_name,
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Whether an init container lets the next one start.
fn is_done(init: &ContainerView, declared: Option<&Container>) -> bool {
    let is_sidecar = declared.is_some_and(|declared| declared.restart_policy.as_deref() == Some("Always"));
    is_sidecar && init.started || matches!(&init.state, State::Ended(ended) if ended.code == 0)
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount
            .read_only
            .filter(|read_only| *read_only)
            .map(|_| "Disabled".into()),
        ..VolumeMountStatus::default()
    });
    Some(mounts.collect::<Vec<_>>()).filter(|mounts| !mounts.is_empty())
}

fn container(uid: &str, view: &ContainerView, declared: Option<&Container>) -> ContainerStatus {
    let id = format!("minicluster://{uid}/{}/{}", view.name, view.restarts);
    let terminated = |ended: &Ended| ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(
            if ended.message.is_some() {
                "StartError"
            } else if ended.code == 0 {
                "Completed"
            } else {
                "Error"
            }
            .into(),
        ),
        message: ended.message.clone(),
        started_at: Some(Time(ended.started)),
        finished_at: Some(Time(ended.finished)),
        container_id: Some(id.clone()),
        signal: None,
    };
    let state = match &view.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).into()),
                message: message.clone(),
            }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            }),
            ..ContainerState::default()
        },
        State::Ended(ended) => ContainerState {
            terminated: Some(terminated(ended)),
            ..ContainerState::default()
        },
    };
    let running = matches!(view.state, State::Running { .. });
    ContainerStatus {
        name: view.name.clone(),
        image: view.image.clone(),
        image_id: view.image.clone(),
        container_id: (!matches!(view.state, State::Waiting { .. })).then_some(id.clone()),
        state: Some(state),
        last_state: Some(ContainerState {
            terminated: view.last.as_ref().map(terminated),
            ..ContainerState::default()
        }),
        ready: view.ready,
        started: Some(running && view.started),
        restart_count: view.restarts,
        allocated_resources: declared.and_then(|declared| declared.resources.as_ref()?.requests.clone()),
        resources: declared.map(|declared| declared.resources.clone().unwrap_or_default()),
        volume_mounts: declared.and_then(mounts),
        ..ContainerStatus::default()
    }
}

struct Conditions {
    all: Vec<PodCondition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    fn set(&mut self, kind: &str, outcome: Result<(), (Option<&'static str>, Option<String>)>) {
        let (status, reason, message) = match outcome {
            Ok(()) => ("True", None, None),
            Err((reason, message)) => ("False", reason.map(str::to_owned), message),
        };
        let held = self.all.iter().find(|held| held.type_ == kind && held.status == status);
        let since = held.and_then(|held| held.last_transition_time.clone());
        // kube keeps times to the second.
        let seconds = || Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let condition = PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            observed_generation: self.generation,
            last_transition_time: since.or_else(|| Some(Time(seconds()))),
            last_probe_time: None,
        };
        match self.all.iter_mut().find(|held| held.type_ == kind) {
            Some(held) => *held = condition,
            None => self.all.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"restartPolicy": policy, "containers": []}}))
            .unwrap()
    }

    fn view(states: Vec<State>) -> PodView {
        let container = |(index, state): (usize, State)| ContainerView {
            name: format!("c{index}"),
            image: "a".into(),
            started: true,
            ready: matches!(state, State::Running { .. }),
            state,
            last: None,
            restarts: 0,
        };
        let containers = states.into_iter().enumerate().map(container).collect();
        PodView {
            ip: "127.16.64.1".into(),
            host_ip: "127.16.0.1".into(),
            start: now(),
            containers,
            init: vec![],
        }
    }

    fn ended(code: i32) -> State {
        State::Ended(Ended {
            code,
            started: now(),
            finished: now(),
            message: None,
        })
    }

    fn running() -> State {
        State::Running { since: now() }
    }

    fn waiting() -> State {
        State::Waiting {
            reason: "ContainerCreating",
            message: None,
        }
    }

    #[test]
    fn the_phase_follows_containers_and_restart_policy() {
        let cases = [
            ("Always", vec![running(), running()], "Running"),
            ("Always", vec![running(), waiting()], "Pending"),
            ("Always", vec![ended(0)], "Running"),
            ("Never", vec![ended(0), ended(0)], "Succeeded"),
            ("Never", vec![ended(0), ended(1)], "Failed"),
            ("Never", vec![ended(0), running()], "Running"),
            ("OnFailure", vec![ended(0)], "Succeeded"),
            ("OnFailure", vec![ended(1)], "Running"),
        ];
        for (policy, states, expected) in cases {
            assert_eq!(
                status(&pod(policy), &view(states.clone()), now()).phase.as_deref(),
                Some(expected),
                "{policy} {states:?}"
            );
        }
    }

    #[test]
    fn a_pod_is_initialized_when_its_init_containers_have_done_their_work() {
        let mut view = view(vec![waiting()]);
        view.init = self::view(vec![ended(0), running()]).containers;
        let initialized = |view: &PodView| {
            let status = status(&pod("Never"), view, now());
            let mut conditions = status.conditions.unwrap().into_iter();
            let held = conditions.find(|held| held.type_ == "Initialized").unwrap();
            (held.status == "True", held.message, status.phase.unwrap())
        };
        let message = Some("containers with incomplete status: [c1]".to_owned());
        assert_eq!(initialized(&view), (false, message, "Pending".into()));
        view.init[1].state = ended(0);
        assert_eq!(initialized(&view), (true, None, "Pending".into()));
        view.init[1].state = ended(1);
        assert_eq!(initialized(&view).2, "Failed");
    }

    #[test]
    fn readiness_needs_every_container_and_every_gate() {
        let ready = |pod: &Pod, view: &PodView| {
            let status = status(pod, view, now());
            let condition = status
                .conditions
                .unwrap()
                .into_iter()
                .find(|condition| condition.type_ == "Ready")
                .unwrap();
            (condition.status == "True", condition.message)
        };
        assert!(ready(&pod("Always"), &view(vec![running()])).0);
        let (is_ready, message) = ready(&pod("Always"), &view(vec![running(), waiting()]));
        assert_eq!(
            (is_ready, message.as_deref()),
            (false, Some("containers with unready status: [c1]"))
        );
        let mut gated = pod("Always");
        gated.spec.as_mut().unwrap().readiness_gates =
            Some(serde_json::from_value(json!([{"conditionType": "lb"}])).unwrap());
        assert!(!ready(&gated, &view(vec![running()])).0);
    }

    #[test]
    fn reporting_again_later_changes_nothing() {
        let mut pod = pod("Always");
        let first = status(&pod, &view(vec![running()]), now());
        pod.status = Some(first.clone());
        assert_eq!(
            status(
                &pod,
                &view(vec![running()]),
                now() + jiff::SignedDuration::from_secs(60)
            ),
            first
        );
    }
}
