//! Starting a pod: its address, its listeners, its processes with volumes and environment.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Agent, Error, NAME, Part, Running, containers, held_status, pod_view, ports};
use crate::{
    informer::Key,
    node::{
        environment,
        logs::Log,
        process::{self, Process, Restart, Role, Task},
        status::{self, ContainerView, State},
        volumes::{self, Volumes},
        web::{self, Facts},
        web_container::WebContainer,
    },
    pods,
    proxy::forward,
    queue,
};

/// All containers of a pod in the order in which they start.
fn in_order(spec: &PodSpec) -> impl Iterator<Item = (Role, &Container)> {
    let role = |container: &Container| match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        Some(_) | None => Role::Init,
    };
    let init = spec.init_containers.iter().flatten();
    let main = spec.containers.iter().map(|container| (Role::Main, container));
    init.map(move |container| (role(container), container)).chain(main)
}

impl Agent {
    pub(super) async fn start_pod(
        self: &Arc<Self>,
        key: &Key,
        pod: &Pod,
        host_ip: Ipv4Addr,
    ) -> Result<Arc<Running>, Error> {
        let spec = pod.spec.clone().unwrap_or_default();
        let node = pods::node_name(pod).unwrap_or_default();
        let ip = if spec.host_network == Some(true) {
            host_ip
        } else {
            self.addresses.lock().take(key, pod).ok_or(Error::NoAddress)?
        };
        let outcome = self.start_containers(key, pod, &spec, (ip, host_ip)).await;
        match outcome {
            Ok(running) => {
                let running = Arc::new(running);
                self.running.lock().insert(key.clone(), running.clone());
                if pods::phase(pod) == "Pending" {
                    let containers: Vec<_> = containers(&spec).map(|container| container.name.as_str()).collect();
                    let message = format!("Started container {}", containers.join(", "));
                    self.context.events.on(NAME, node).normal(pod, "Started", message);
                }
                Ok(running)
            }
            Err(error) => {
                let reason = if matches!(error, Error::Volume(_)) {
                    "FailedMount"
                } else {
                    "Failed"
                };
                let message = match &error {
                    Error::Volume(source) => queue::chain(source),
                    Error::Environment(source) => format!("Error: {source}"),
                    other => queue::chain(other),
                };
                self.context.events.on(NAME, node).warning(pod, reason, message);
                self.report_waiting(pod, &error, (ip, host_ip)).await?;
                Err(error)
            }
        }
    }

    async fn start_containers(
        self: &Arc<Self>,
        key: &Key,
        pod: &Pod,
        spec: &PodSpec,
        (ip, host_ip): (Ipv4Addr, Ipv4Addr),
    ) -> Result<Running, Error> {
        let now = Timestamp::now();
        let facts = Arc::new(self.facts(pod));
        let stop = CancellationToken::new();
        let (listeners, forwards) = self.listen(spec, ip, host_ip)?;
        let mut parts = Vec::new();
        let mut logs = HashMap::new();
        let mut server_log = None;
        if pods::phase(pod) == "Pending" {
            self.check(pod, spec, (ip, host_ip)).await?;
        }
        let mut after = None;
        for (role, container) in in_order(spec) {
            let held = held_status(pod, &container.name);
            if process::is_process(container.image.as_deref()) {
                let (mut task, log) = self.prepare(pod, spec, (role, container), (ip, host_ip)).await?;
                task.after.clone_from(&after);
                if role != Role::Main {
                    after = Some(task.opens.clone());
                }
                let (queue, key) = (self.queue.clone(), key.clone());
                logs.insert(container.name.clone(), log.clone());
                parts.push(Part::Process(Process::start(
                    self.spawner.clone(),
                    task,
                    log,
                    held,
                    move || queue.add(key.clone()),
                )));
            } else if role != Role::Init {
                let log = Arc::new(Log::in_memory());
                logs.insert(container.name.clone(), log.clone());
                server_log.get_or_insert(log);
                parts.push(Part::Web(Box::new(WebContainer::start(pod, container, held, now))));
            }
        }
        let mut ports = Vec::new();
        let log = server_log.unwrap_or_else(|| Arc::new(Log::in_memory()));
        for listener in listeners {
            if let Ok(address) = listener.local_addr() {
                log.note(format!("{} listens on {address}", facts.pod));
                ports.push(address.port());
            }
            web::serve(listener, facts.clone(), log.clone(), stop.clone());
        }
        for (listener, target) in forwards {
            forward::to_one(listener, target, stop.clone());
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let start = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or(now, |time| time.0);
        Ok(Running {
            uid,
            ip,
            host_ip,
            start,
            facts,
            ports,
            parts: Mutex::new(parts),
            logs,
            stop,
            terminating: AtomicBool::new(false),
            refreshed: Mutex::new(tokio::time::Instant::now()),
        })
    }

    /// Whether everything is there that containers refer to which are not run: without it they would not start either.
    async fn check(&self, pod: &Pod, spec: &PodSpec, (ip, host_ip): (Ipv4Addr, Ipv4Addr)) -> Result<(), Error> {
        let pod_dir = self.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
        let (ip, host_ip) = (ip.to_string(), host_ip.to_string());
        let volumes = self.volumes(pod, &pod_dir, (&ip, &host_ip));
        volumes.check().await.map_err(Error::Volume)?;
        for container in containers(spec).filter(|container| !process::is_process(container.image.as_deref())) {
            let sources = volumes.sources(container).await.map_err(Error::Volume)?;
            environment::variables(pod, container, &sources, &[], (&ip, &host_ip)).map_err(Error::Environment)?;
        }
        Ok(())
    }

    fn facts(&self, pod: &Pod) -> Facts {
        let node = pods::node_name(pod).unwrap_or_default();
        let held = self.context.nodes.get(&Key::new(None, node));
        let label = |key: &str, default: &str| {
            let labels = held.as_ref().and_then(|node| node.metadata.labels.as_ref());
            labels
                .and_then(|labels| labels.get(key))
                .cloned()
                .unwrap_or_else(|| default.to_owned())
        };
        let identity = &self.context.identity;
        Facts {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            node: node.to_owned(),
            zone: label("topology.kubernetes.io/zone", &identity.zone),
            region: label("topology.kubernetes.io/region", &identity.region),
            cluster: identity.cluster.clone(),
        }
    }

    /// Binds the pod's ports and its host ports. Host ports of processes lead to the processes' own ports.
    fn listen(
        &self,
        spec: &PodSpec,
        ip: Ipv4Addr,
        host_ip: Ipv4Addr,
    ) -> Result<(Vec<TcpListener>, Vec<(TcpListener, SocketAddr)>), Error> {
        let plan = ports::plan(spec, ip, host_ip);
        let bind = |address: SocketAddr| web::bind(address).map_err(|source| Error::Listen { address, source });
        let mut listeners = plan.serve.into_iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        // What nobody asked for may fail: port 80 needs a privilege.
        listeners.extend(plan.perhaps.into_iter().filter_map(|address| web::bind(address).ok()));
        let forwards = plan.forward.into_iter().map(|(from, to)| Ok((bind(from)?, to)));
        Ok((listeners, forwards.collect::<Result<_, Error>>()?))
    }

    /// Everything that a process needs: volumes, environment, arguments.
    async fn prepare(
        &self,
        pod: &Pod,
        spec: &PodSpec,
        (role, container): (Role, &Container),
        (ip, host_ip): (Ipv4Addr, Ipv4Addr),
    ) -> Result<(Task, Arc<Log>), Error> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let pod_dir = self.pod_dir(uid);
        volumes::make_dir(&pod_dir).map_err(Error::Volume)?;
        let (ip, host_ip) = (ip.to_string(), host_ip.to_string());
        let volumes = self.volumes(pod, &pod_dir, (&ip, &host_ip));
        let mounts = volumes.mounts(container).await.map_err(Error::Volume)?;
        let sources = volumes.sources(container).await.map_err(Error::Volume)?;
        let base = self.base_environment(pod);
        let mut env =
            environment::variables(pod, container, &sources, &base, (&ip, &host_ip)).map_err(Error::Environment)?;
        let words = container
            .command
            .iter()
            .flatten()
            .chain(container.args.iter().flatten());
        let mut words: Vec<_> = words
            .map(|word| environment::rewrite(&environment::expand(word, &env), &mounts))
            .collect();
        for value in env.values_mut() {
            *value = environment::rewrite(value, &mounts);
        }
        let program = if container.command.as_ref().is_some_and(|command| !command.is_empty()) {
            self.program(&words.remove(0))
        } else {
            self.settings.program.clone()
        };
        let restart = match (role, spec.restart_policy.as_deref()) {
            (Role::Sidecar, _) => Restart::Always,
            (_, Some("Never")) => Restart::Never,
            (Role::Init, _) | (_, Some("OnFailure")) => Restart::OnFailure,
            (Role::Main, _) => Restart::Always,
        };
        let grace = spec
            .termination_grace_period_seconds
            .and_then(|grace| u64::try_from(grace).ok())
            .unwrap_or(30);
        let task = Task {
            program,
            args: words,
            env,
            pid_file: pod_dir.join(format!("{}.pid", container.name)),
            container: container.clone(),
            ip,
            restart,
            grace: Duration::from_secs(grace),
            role,
            after: None,
            opens: CancellationToken::new(),
        };
        Ok((
            task,
            Arc::new(Log::in_file(pod_dir.join(format!("{}.log", container.name)))),
        ))
    }

    /// The program that a command names: our own, or one beside it.
    fn program(&self, command: &str) -> PathBuf {
        let name = command.rsplit('/').next().unwrap_or(command);
        if name == "federation" {
            self.settings.program.clone()
        } else {
            self.settings.program.with_file_name(name)
        }
    }

    pub(super) fn volumes<'a>(&'a self, pod: &'a Pod, pod_dir: &'a Path, ips: (&'a str, &'a str)) -> Volumes<'a> {
        Volumes {
            client: &self.context.client,
            pod,
            data_dir: &self.settings.data_dir,
            pod_dir,
            ips,
        }
    }

    fn base_environment(&self, pod: &Pod) -> Vec<(String, String)> {
        let (host, port) = &self.settings.server;
        let mut base = vec![
            ("HOSTNAME".to_owned(), pod.metadata.name.clone().unwrap_or_default()),
            ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ];
        let inherited = ["PATH", "TZ", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
        base.extend(
            inherited
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))),
        );
        base
    }

    /// Reports a pod whose containers could not be started yet.
    async fn report_waiting(&self, pod: &Pod, error: &Error, ips: (Ipv4Addr, Ipv4Addr)) -> Result<(), Error> {
        let now = Timestamp::now();
        let waiting = |container: &Container| ContainerView {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: match error {
                Error::Environment(source) => State::Waiting {
                    reason: "CreateContainerConfigError",
                    message: Some(source.to_string()),
                },
                _ => State::Waiting {
                    reason: "ContainerCreating",
                    message: None,
                },
            },
            last: None,
            restarts: held_status(pod, &container.name).map_or(0, |held| held.restart_count),
            started: false,
            ready: false,
        };
        let views = pod.spec.iter().flat_map(|spec| &spec.containers).map(waiting).collect();
        let view = pod_view(pod, views, ips, now, now);
        let mut status = status::status(pod, &view, now);
        if pods::pod_ip(pod).is_none() {
            (status.pod_ip, status.pod_ips) = (None, None);
        }
        self.writer
            .merge_status(&self.context.pods, pod, pod.status.as_ref(), &status)
            .await?;
        Ok(())
    }
}
