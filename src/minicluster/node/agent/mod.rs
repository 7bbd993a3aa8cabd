//! The node agent: what a kubelet does for the pods of its node, for all nodes of this process.
//!
//! A pod is looked at whenever it, its node or one of its containers changes. Then it is started,
//! stopped or left alone, and its status is reported if that differs from what the API server has.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::pod_addresses::PodAddresses;
use super::{
    environment,
    logs::Log,
    probe,
    process::{self, Process, Spawner},
    registry::Registry,
    status::{self, ContainerView, Ended, PodView, State},
    volumes,
    web::Facts,
    web_container::{self, WebContainer},
};
use crate::{
    addresses::Pool,
    context::Context,
    informer::Key,
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

mod pod_addresses;
mod ports;
mod start;

const NAME: &str = "kubelet";
/// Pods that are looked at at a time.
const WORKERS: usize = 12;
/// How long a server goes on serving after its pod was told to end: until everybody knows.
const DRAIN: Duration = Duration::from_secs(1);
/// How often Secrets, ConfigMaps and tokens of running processes are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// How soon a pod is tried again whose Secrets or ConfigMaps are not there yet: they mostly come right after it.
const MOUNT_RETRY: Duration = Duration::from_millis(500);
/// How long processes get to end when this process ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a pod could not be brought to where it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No address is left.
    #[error("no pod address is free")]
    NoAddress,
    /// A port of the pod is not to be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A volume could not be made.
    #[error("cannot set up volumes")]
    Volume(#[source] volumes::Error),
    /// A container's environment leads nowhere.
    #[error("cannot set up the environment")]
    Environment(#[source] environment::Error),
    /// The API server did not take a write.
    #[error("cannot tell the API server")]
    Write(#[from] write::Error),
}

/// Where and as what pods run.
pub(crate) struct Settings {
    /// Directory of everything that is kept.
    pub(crate) data_dir: PathBuf,
    /// The program that images named `*/federation` stand for.
    pub(crate) program: PathBuf,
    /// Host and port of the API server, for processes.
    pub(crate) server: (String, u16),
}

enum Part {
    Web(Box<WebContainer>),
    Process(Process),
}

struct Running {
    uid: String,
    ip: Ipv4Addr,
    host_ip: Ipv4Addr,
    start: Timestamp,
    facts: Arc<Facts>,
    /// Ports that are listened on for it.
    ports: Vec<u16>,
    parts: Mutex<Vec<Part>>,
    logs: HashMap<String, Arc<Log>>,
    /// Closes the listeners.
    stop: CancellationToken,
    terminating: AtomicBool,
    refreshed: Mutex<tokio::time::Instant>,
}

impl Running {
    /// Stops listening, and tells who follows the logs that nothing will come any more.
    fn close(&self) {
        self.stop.cancel();
        self.logs.values().for_each(|log| log.close());
    }
}

/// The node agent of all nodes of this process.
pub(crate) struct Agent {
    context: Arc<Context>,
    writer: Writer,
    settings: Settings,
    registry: Arc<Registry>,
    spawner: Spawner,
    running: Mutex<HashMap<Key, Arc<Running>>>,
    addresses: Mutex<PodAddresses>,
    queue: Arc<Queue<Key>>,
}

impl Agent {
    /// Starts the agent, after what the last run left behind is gone.
    ///
    /// # Errors
    /// The thread that starts processes cannot be started.
    pub(crate) async fn start(
        context: &Arc<Context>,
        registry: &Arc<Registry>,
        addresses: Pool,
        settings: Settings,
    ) -> std::io::Result<Arc<Self>> {
        process::end_leftovers(&settings.data_dir.join("pods")).await;
        let queue = Arc::new(Queue::default());
        let agent = Arc::new(Self {
            context: context.clone(),
            writer: context.writer(NAME),
            settings,
            registry: registry.clone(),
            spawner: Spawner::start()?,
            running: Mutex::default(),
            addresses: Mutex::new(PodAddresses::new(addresses)),
            queue: queue.clone(),
        });
        context.synced().await;
        agent.reserve_addresses();
        context.pods.on_change({
            let queue = queue.clone();
            move |change| {
                if change.versions().any(|pod| pods::node_name(pod).is_some()) {
                    queue.add(change.key.clone());
                }
            }
        });
        registry.on_change({
            let (queue, pods) = (queue.clone(), context.pods.clone());
            move |node| {
                for pod in pods.list().iter().filter(|pod| pods::node_name(pod) == Some(node)) {
                    queue.add(Key::from_meta(&pod.metadata));
                }
            }
        });
        let worker = agent.clone();
        queue::spawn(NAME, queue, WORKERS, &context.shutdown, move |key| {
            let agent = worker.clone();
            async move { agent.sync(&key).await }
        });
        Ok(agent)
    }

    /// Pods that had an address before the restart get it again, before new ones ask.
    fn reserve_addresses(&self) {
        let mut addresses = self.addresses.lock();
        for pod in self.context.pods.list() {
            if !pods::is_finished(&pod) && !host_network(&pod) && pods::pod_ip(&pod).is_some() {
                addresses.take(&Key::from_meta(&pod.metadata), &pod);
            }
        }
    }

    /// The log of a container, if its pod runs here or did while this process lived.
    pub(crate) fn log(&self, key: &Key, container: &str) -> Option<Arc<Log>> {
        self.running.lock().get(key)?.logs.get(container).cloned()
    }

    /// Where a pod that runs here is reached, and what tells that it has stopped.
    pub(crate) fn reach(&self, key: &Key) -> Option<(Ipv4Addr, CancellationToken)> {
        let all = self.running.lock();
        let running = all.get(key)?;
        Some((running.ip, running.stop.clone()))
    }

    /// Ends everything that runs here; the pods stay, to be started again on the next start.
    pub(crate) async fn stop_all(&self) {
        let running: Vec<_> = self.running.lock().values().cloned().collect();
        running.iter().for_each(|running| running.close());
        let stops = running.iter().map(|running| stop_parts(running, FAREWELL));
        if tokio::time::timeout(FAREWELL, future::join_all(stops)).await.is_err() {
            tracing::warn!("some processes did not end in time and are killed");
        }
    }

    async fn sync(self: &Arc<Self>, key: &Key) -> Result<Requeue, Error> {
        let pod = self.context.pods.get(key);
        let mut running = self.running.lock().get(key).cloned();
        let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.as_deref());
        let address = pod
            .as_deref()
            .and_then(pods::node_name)
            .and_then(|node| self.registry.address(node));
        if let Some(held) = running.take_if(|held| Some(held.uid.as_str()) != uid || address.is_none()) {
            // Gone without a goodbye: by force, or with its node.
            self.stop(key, &held).await;
        }
        let Some(pod) = pod else {
            self.addresses.lock().release(key);
            return Ok(None);
        };
        let Some(host_ip) = address else { return Ok(None) };
        if pods::is_deleting(&pod.metadata) {
            return self.terminate(key, &pod, running).await;
        }
        if pods::is_finished(&pod) {
            // Its logs stay readable.
            if let Some(running) = running {
                running.close();
            }
            self.addresses.lock().release(key);
            return Ok(None);
        }
        let running = match running {
            Some(running) => running,
            None => match self.start_pod(key, &pod, host_ip).await {
                Err(Error::Volume(_) | Error::Environment(_)) => return Ok(Some(MOUNT_RETRY)),
                started => started?,
            },
        };
        self.refresh(&pod, &running).await;
        self.report(&pod, &running).await
    }

    /// Ends a pod: it serves on for a moment, its processes are asked to end, then it is deleted for good.
    async fn terminate(
        self: &Arc<Self>,
        key: &Key,
        pod: &Pod,
        running: Option<Arc<Running>>,
    ) -> Result<Requeue, Error> {
        let Some(running) = running else {
            self.writer.delete(&self.context.pods, pod, Some(0)).await?;
            return Ok(None);
        };
        if running.terminating.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        self.context
            .events
            .on(NAME, &running.facts.node)
            .normal(pod, "Killing", killing(pod));
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .and_then(|grace| u64::try_from(grace).ok())
            .unwrap_or(0);
        let grace = Duration::from_secs(grace);
        let (agent, key, pod) = (self.clone(), key.clone(), pod.clone());
        tokio::spawn(async move {
            let told = tokio::time::Instant::now();
            let _ = tokio::time::timeout(grace, pre_stop(&pod, running.ip)).await;
            let left = grace.saturating_sub(told.elapsed());
            let drain = tokio::time::sleep_until(told + DRAIN.min(grace));
            future::join(stop_parts(&running, left), drain).await;
            agent.stop(&key, &running).await;
            agent.queue.add(key);
        });
        Ok(None)
    }

    /// Stops everything of a pod at once and forgets it.
    async fn stop(&self, key: &Key, running: &Arc<Running>) {
        running.close();
        stop_parts(running, Duration::ZERO).await;
        self.addresses.lock().release(key);
        {
            let mut all = self.running.lock();
            if all.get(key).is_some_and(|held| held.uid == running.uid) {
                all.remove(key);
            }
        }
        let dir = self.pod_dir(&running.uid);
        if dir.exists()
            && let Err(error) = tokio::fs::remove_dir_all(&dir).await
        {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove the directory of a pod");
        }
    }

    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.settings.data_dir.join("pods").join(uid)
    }
    /// Reads the volumes of processes again, now and then; a failure leaves what was there.
    async fn refresh(&self, pod: &Pod, running: &Running) {
        let has_process = running.parts.lock().iter().any(|part| matches!(part, Part::Process(_)));
        if !has_process || running.refreshed.lock().elapsed() < REFRESH {
            return;
        }
        *running.refreshed.lock() = tokio::time::Instant::now();
        let (ip, host_ip) = (running.ip.to_string(), running.host_ip.to_string());
        let pod_dir = self.pod_dir(&running.uid);
        let volumes = self.volumes(pod, &pod_dir, (&ip, &host_ip));
        for container in pod.spec.iter().flat_map(containers) {
            if process::is_process(container.image.as_deref())
                && let Err(error) = volumes.mounts(container).await
            {
                tracing::debug!(pod = %Key::from_meta(&pod.metadata), error = queue::chain(&error), "cannot refresh volumes");
            }
        }
    }

    /// Reports what the containers do, and when to look again.
    async fn report(&self, pod: &Pod, running: &Running) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let mut next: Option<Timestamp> = None;
        let mut sooner = |at: Option<Timestamp>| next = next.into_iter().chain(at).min();
        let mut has_process = false;
        let mut views = Vec::new();
        for part in running.parts.lock().iter_mut() {
            match part {
                Part::Process(process) => {
                    has_process = true;
                    views.push(process.view());
                }
                Part::Web(life) => {
                    sooner(life.advance(now));
                    let container = pod
                        .spec
                        .iter()
                        .flat_map(containers)
                        .find(|held| held.name == life.name());
                    let probed = container.zip(life.running_since()).map(|(container, since)| {
                        web_container::health(pod, container, &running.facts, &running.ports, since, now)
                    });
                    let (health, again) = probed.unwrap_or_default();
                    sooner(again);
                    views.push(life.view(health));
                }
            }
        }
        let view = pod_view(pod, views, (running.ip, running.host_ip), running.start, now);
        let status = status::status(pod, &view, now);
        self.writer
            .merge_status(&self.context.pods, pod, pod.status.as_ref(), &status)
            .await?;
        let next = next.map(|at| queue::after(at, now));
        Ok(if has_process {
            Some(next.unwrap_or(REFRESH).min(REFRESH))
        } else {
            next
        })
    }
}

/// Waits for the pod's preStop hooks: a pause or a request. Commands cannot be run in images that are not there.
async fn pre_stop(pod: &Pod, ip: Ipv4Addr) {
    let ip = ip.to_string();
    let hooks = pod.spec.iter().flat_map(containers).filter_map(|container| {
        let hook = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
        Some((container, hook))
    });
    let run = hooks.map(async |(container, hook)| {
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.try_into().unwrap_or(0))).await;
        } else if let Some(request) = &hook.http_get {
            probe::ask_http(request, container, &ip).await;
        }
    });
    future::join_all(run).await;
}

/// Ends what runs of a pod: asks it to, and kills it after `grace`.
async fn stop_parts(running: &Running, grace: Duration) {
    let parts = std::mem::take(&mut *running.parts.lock());
    future::join_all(parts.iter().filter_map(|part| match part {
        Part::Process(process) => Some(process.stop(grace)),
        Part::Web(_) => None,
    }))
    .await;
}

fn killing(pod: &Pod) -> String {
    let names: Vec<_> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    format!("Stopping container {}", names.join(", "))
}

fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

/// What runs as long as the pod does: sidecars, then containers.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    sidecars.chain(&spec.containers)
}

fn held_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    all.into_iter().find(|held| held.name == container)
}

/// Puts containers and init containers where the status has them. Init containers of images that
/// are not run have always done their work.
fn pod_view(
    pod: &Pod,
    mut views: Vec<ContainerView>,
    ips: (Ipv4Addr, Ipv4Addr),
    start: Timestamp,
    now: Timestamp,
) -> PodView {
    let mut init = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()) {
        if let Some(index) = views.iter().position(|view| view.name == container.name) {
            init.push(views.remove(index));
            continue;
        }
        let done = held_status(pod, &container.name)
            .and_then(|held| held.state.as_ref()?.terminated.as_ref()?.finished_at.clone());
        let at = done.map_or(now, |time| time.0);
        init.push(ContainerView {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::Ended(Ended {
                code: 0,
                started: at,
                finished: at,
                message: None,
            }),
            last: None,
            restarts: 0,
            started: false,
            ready: true,
        });
    }
    PodView {
        ip: ips.0.to_string(),
        host_ip: ips.1.to_string(),
        start,
        containers: views,
        init,
    }
}
