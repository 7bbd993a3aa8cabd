//! A container whose image is not run: a server until it is stopped, or something that ends by
//! itself and is perhaps started again. Its life is a pure function of time.

use std::time::Duration;

use client::backoff::Backoff;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};

use super::{
    outcome::{self, Outcome},
    status::{ContainerView, Ended, State},
    web,
};

/// Annotation: `false` keeps the pod's containers from being ready.
pub(crate) const READY: &str = "minicluster.kubefed.io/ready";
/// First and greatest delay between restarts.
pub(crate) const RESTART: Backoff = Backoff {
    base: Duration::from_secs(1),
    max: Duration::from_secs(300),
};

/// The life of a container.
#[derive(Debug, Clone)]
pub(crate) struct WebContainer {
    name: String,
    image: String,
    state: State,
    last: Option<Ended>,
    restarts: i32,
    outcome: Option<Outcome>,
    restarts_on_failure: bool,
}

impl WebContainer {
    /// Starts now, or goes on where the status of the last run says that it was.
    pub(crate) fn start(pod: &Pod, container: &Container, held: Option<&ContainerStatus>, now: Timestamp) -> Self {
        let state = held.and_then(|held| held.state.as_ref());
        let ended = |terminated| Ended::of(terminated, now);
        let running = state.and_then(|state| state.running.as_ref());
        let terminated = state.and_then(|state| state.terminated.as_ref()).map(ended);
        let since = running
            .and_then(|running| running.started_at.as_ref())
            .map_or(now, |time| time.0);
        let state = if is_unpullable(&container.image) {
            let image = container.image.as_deref().unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\"");
            State::Waiting {
                reason: "ImagePullBackOff",
                message: Some(message),
            }
        } else {
            terminated.map_or(State::Running { since }, State::Ended)
        };
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state,
            last: held
                .and_then(|held| held.last_state.as_ref()?.terminated.as_ref())
                .map(ended),
            restarts: held.map_or(0, |held| held.restart_count),
            outcome: outcome::of(pod, container),
            restarts_on_failure: pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure"),
        }
    }

    /// Lives up to `now`; returns when something happens next.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Option<Timestamp> {
        loop {
            let (at, next) = self.next()?;
            if at > now {
                return Some(at);
            }
            if let State::Ended(ended) = &self.state {
                self.last = Some(ended.clone());
                self.restarts += 1;
            }
            self.state = next;
        }
    }

    // Running => Ended; Ended => Running, if it is started again.
    fn next(&self) -> Option<(Timestamp, State)> {
        match &self.state {
            State::Running { since } => {
                let outcome = self.outcome?;
                let at = later(*since, outcome.after);
                Some((
                    at,
                    State::Ended(Ended {
                        code: outcome.exit_code,
                        started: *since,
                        finished: at,
                        message: None,
                    }),
                ))
            }
            State::Ended(ended) if self.restarts_on_failure && ended.code != 0 => {
                let failures = u32::try_from(self.restarts).unwrap_or(0);
                let at = later(ended.finished, RESTART.delay(failures + 1, 0.0));
                Some((at, State::Running { since: at }))
            }
            State::Ended(_) | State::Waiting { .. } => None,
        }
    }

    /// What to report.
    pub(crate) fn view(&self, Health { started, ready }: Health) -> ContainerView {
        ContainerView {
            name: self.name.clone(),
            image: self.image.clone(),
            state: self.state.clone(),
            last: self.last.clone(),
            restarts: self.restarts,
            started,
            ready: ready && matches!(self.state, State::Running { .. }),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Since when it runs.
    pub(crate) fn running_since(&self) -> Option<Timestamp> {
        match &self.state {
            State::Running { since } => Some(*since),
            State::Ended(_) | State::Waiting { .. } => None,
        }
    }
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by)
        .ok()
        .and_then(|by| from.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Registries under the reserved domain `invalid` have no images: so a failed pull can be tried out.
fn is_unpullable(image: &Option<String>) -> bool {
    let registry = image
        .as_deref()
        .and_then(|image| image.split_once('/'))
        .map(|(registry, _)| registry);
    registry.is_some_and(|registry| {
        registry
            .split(':')
            .next()
            .is_some_and(|host| host == "invalid" || host.ends_with(".invalid"))
    })
}

/// What the probes of a container say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The startup probe has passed, or there is none.
    pub(crate) started: bool,
    /// The readiness probe passes, or there is none.
    pub(crate) ready: bool,
}

/// What the probes of a container that runs since `since` say, and when they are to be asked again. The server
/// is part of this process, so what it would answer is known without asking; a command that cannot be run succeeds.
pub(crate) fn health(
    pod: &Pod,
    container: &Container,
    facts: &web::Facts,
    ports: &[u16],
    since: Timestamp,
    now: Timestamp,
) -> (Health, Option<Timestamp>) {
    let asked = |probe: &Option<Probe>, from: Timestamp| match probe {
        None => (true, None),
        Some(probe) => {
            let first = later(from, seconds(probe.initial_delay_seconds));
            if first > now {
                (false, Some(first))
            } else {
                (passes(probe, container, facts, ports), None)
            }
        }
    };
    let (started, again) = asked(&container.startup_probe, since);
    if !started {
        return (Health::default(), again);
    }
    let held_back = pod.metadata.annotations.as_ref().and_then(|all| all.get(READY));
    let (ready, again) = if held_back.is_some_and(|ready| ready == "false") {
        (false, None)
    } else {
        asked(&container.readiness_probe, since)
    };
    (Health { started, ready }, again)
}

fn seconds(value: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
}

fn passes(probe: &Probe, container: &Container, facts: &web::Facts, ports: &[u16]) -> bool {
    let listens = |port| super::probe::port(port, container).is_some_and(|port| ports.contains(&port));
    if let Some(http) = &probe.http_get {
        let path = http.path.as_deref().unwrap_or("/");
        let plain = http.scheme.as_deref() != Some("HTTPS");
        let status = web::respond(facts, "GET", path, &http::HeaderMap::new()).status;
        return plain && listens(&http.port) && (200..400).contains(&status);
    }
    probe.tcp_socket.as_ref().is_none_or(|tcp| listens(&tcp.port))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ALL_WELL: Health = Health {
        started: true,
        ready: true,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn start(policy: &str, container: Value) -> (Pod, Container, WebContainer) {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"restartPolicy": policy, "containers": [container]}})).unwrap();
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        let life = WebContainer::start(&pod, &container, None, at(0));
        (pod, container, life)
    }

    #[test]
    fn a_job_ends_once() {
        let (_, _, mut life) = start("Never", json!({"name": "a", "command": ["sleep", "3"]}));
        assert_eq!(life.advance(at(1)), Some(at(3)));
        assert_eq!(life.advance(at(3)), None);
        assert!(matches!(life.view(ALL_WELL).state, State::Ended(Ended { code: 0, .. })));
    }

    #[test]
    fn a_failing_container_is_started_again_ever_later() {
        let (_, _, mut life) = start("OnFailure", json!({"name": "a", "command": ["false"]}));
        assert_eq!(life.advance(at(0)), Some(at(1)));
        assert_eq!(life.advance(at(1)), Some(at(3)));
        assert_eq!(life.view(ALL_WELL).restarts, 1);
        assert_eq!(life.advance(at(3)), Some(at(7)));
    }

    #[test]
    fn a_container_goes_on_after_a_restart_of_the_node() {
        let (pod, container, _) = start("Never", json!({"name": "a", "command": ["sleep", "10"]}));
        let held: ContainerStatus = serde_json::from_value(json!({
            "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": {"running": {"startedAt": at(0).to_string()}},
        }))
        .unwrap();
        let mut life = WebContainer::start(&pod, &container, Some(&held), at(5));
        assert_eq!(life.advance(at(5)), Some(at(10)));
        assert_eq!(life.view(ALL_WELL).restarts, 2);
    }

    #[test]
    fn an_image_of_an_invalid_registry_cannot_be_pulled() {
        let (_, _, life) = start("Always", json!({"name": "a", "image": "registry.invalid/a:1"}));
        assert!(matches!(
            life.view(ALL_WELL).state,
            State::Waiting {
                reason: "ImagePullBackOff",
                ..
            }
        ));
    }

    #[test]
    fn a_container_is_not_ready_before_its_startup_probe_has_passed() {
        let text = |text: &str| text.to_owned();
        let facts = web::Facts {
            pod: text("p"),
            namespace: text("d"),
            node: text("n"),
            zone: text("z"),
            region: text("r"),
            cluster: text("c"),
        };
        let startup = json!({"exec": {"command": ["true"]}, "initialDelaySeconds": 3});
        let (pod, container, _) = start("Always", json!({"name": "a", "startupProbe": startup}));
        let at_second = |now| health(&pod, &container, &facts, &[], at(0), at(now));
        assert_eq!(at_second(2), (Health::default(), Some(at(3))));
        assert_eq!(at_second(3), (ALL_WELL, None));
    }

    #[test]
    fn readiness_waits_for_its_delay_and_asks_the_right_port() {
        let text = |text: &str| text.to_owned();
        let facts = web::Facts {
            pod: text("p"),
            namespace: text("d"),
            node: text("n"),
            zone: text("z"),
            region: text("r"),
            cluster: text("c"),
        };
        let ready = |probe: Value, now| {
            let (pod, container, _) = start(
                "Always",
                json!({"name": "a", "ports": [{"name": "http", "containerPort": 80}], "readinessProbe": probe}),
            );
            let (health, again) = health(&pod, &container, &facts, &[80], at(0), at(now));
            (health.ready, again)
        };
        let probe = json!({"httpGet": {"port": "http", "path": "/"}, "initialDelaySeconds": 5});
        assert_eq!(ready(probe.clone(), 4), (false, Some(at(5))));
        assert_eq!(ready(probe, 5), (true, None));
        assert_eq!(ready(json!({"httpGet": {"port": 81, "path": "/"}}), 5), (false, None));
        assert_eq!(
            ready(json!({"httpGet": {"port": 80, "path": "/status/503"}}), 5),
            (false, None)
        );
        assert_eq!(ready(json!({"tcpSocket": {"port": 80}}), 5), (true, None));
    }
}
