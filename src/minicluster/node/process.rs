//! Containers that are run: processes of this binary, supervised as the kubelet supervises containers.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Probe};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    logs::Log,
    probe,
    status::{ContainerView, Ended, State},
    sys,
    web_container::RESTART,
};

/// A container that ran so long starts from the first delay again.
const STABLE: Duration = Duration::from_secs(600);
/// How long leftovers of the last run may take to vanish after SIGKILL.
const VANISH: Duration = Duration::from_secs(5);

/// Whether an image is run as a process: `*/federation`, any tag or digest.
pub(crate) fn is_process(image: Option<&str>) -> bool {
    let name = image.unwrap_or_default();
    let name = name.split('@').next().unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    name.contains('/') && last.split(':').next() == Some("federation")
}

/// Starts processes from one thread that lives as long as it does: the kernel ties a child's life to
/// the thread that started it, and threads of the runtime come and go.
#[derive(Clone)]
pub(crate) struct Spawner {
    requests: std::sync::mpsc::Sender<(Command, oneshot::Sender<io::Result<Child>>)>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, waiting) = std::sync::mpsc::channel::<(Command, oneshot::Sender<io::Result<Child>>)>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            let _guard = runtime.enter();
            for (mut command, answer) in waiting {
                // Who asked may have stopped waiting: the child is killed when it is dropped.
                let _ = answer.send(command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the spawner thread is gone");
        self.requests.send((command, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Its whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where its id is recorded.
    pub(crate) pid_file: PathBuf,
    /// The container, for its probes.
    pub(crate) container: Container,
    /// The address that is probed.
    pub(crate) ip: String,
    /// Started again when it ends: always, or if it failed.
    pub(crate) restart: Restart,
    /// How long it gets to end by itself.
    pub(crate) grace: Duration,
    /// What it is to its pod.
    pub(crate) role: Role,
    /// It starts when this is cancelled; `None`: at once.
    pub(crate) after: Option<CancellationToken>,
    /// Cancelled when what comes after an init container or a sidecar may start.
    pub(crate) opens: CancellationToken,
}

impl Task {
    /// Whether it is ready without being asked, once it has started.
    fn is_ready_once_started(&self) -> bool {
        self.container.readiness_probe.is_none() && self.role != Role::Init
    }
}

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does its work before the next container starts.
    Init,
    /// It starts before the next container, and runs as long as the pod.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// When a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Always.
    Always,
    /// If its exit code is not 0.
    OnFailure,
    /// Never.
    Never,
}

impl Restart {
    /// Whether a container that ended with this code is started again.
    fn follows(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A process under supervision.
pub(crate) struct Process {
    view: Arc<Mutex<ContainerView>>,
    grace: Arc<Mutex<Duration>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Process {
    /// Starts it, and keeps it running. `changed` is called after every change of its view.
    pub(crate) fn start(
        spawner: Spawner,
        task: Task,
        log: Arc<Log>,
        held: Option<&ContainerStatus>,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let before = Before::of(held, Timestamp::now());
        let over = before.last.clone().filter(|last| !task.restart.follows(last.code));
        let is_over = over.is_some();
        if over.as_ref().is_some_and(|over| over.code == 0) {
            task.opens.cancel();
        }
        let view = ContainerView {
            name: task.container.name.clone(),
            image: task.container.image.clone().unwrap_or_default(),
            state: over.map_or(
                State::Waiting {
                    reason: if task.after.is_some() {
                        "PodInitializing"
                    } else {
                        "ContainerCreating"
                    },
                    message: None,
                },
                State::Ended,
            ),
            restarts: if is_over {
                before.restarts
            } else {
                before.next_restarts()
            },
            last: before.last.clone().filter(|_| !is_over),
            started: false,
            ready: is_over && task.role == Role::Init,
        };
        let process = Self {
            view: Arc::new(Mutex::new(view)),
            grace: Arc::new(Mutex::new(task.grace)),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let supervisor = Supervisor {
            spawner,
            task,
            log,
            view: process.view.clone(),
            grace: process.grace.clone(),
            changed: Arc::new(changed),
        };
        let (stop, ended) = (process.stop.clone(), process.ended.clone());
        if is_over {
            ended.cancel();
            return process;
        }
        tokio::spawn(async move {
            supervisor.run(stop).await;
            ended.cancel();
        });
        process
    }

    /// What to report.
    pub(crate) fn view(&self) -> ContainerView {
        self.view.lock().clone()
    }

    /// Asks it to end, kills it after `grace` (at once if that is zero), and waits until it is gone.
    pub(crate) async fn stop(&self, grace: Duration) {
        *self.grace.lock() = grace;
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The probes of one run.
struct Probes {
    task: Task,
    view: Arc<Mutex<ContainerView>>,
    changed: Arc<dyn Fn() + Send + Sync>,
    unhealthy: CancellationToken,
}

impl Probes {
    async fn run(self) {
        let container = &self.task.container;
        let watch = |probe: &Option<Probe>| {
            probe
                .clone()
                .map(|probe| (probe, container.clone(), self.task.ip.clone()))
        };
        if let Some(startup) = &container.startup_probe {
            if !probe::start_up(startup, container, &self.task.ip).await {
                self.unhealthy.cancel();
                return;
            }
            self.update(|view| {
                view.started = true;
                view.ready = self.task.is_ready_once_started();
            });
        }
        if self.task.role == Role::Sidecar {
            self.task.opens.cancel();
        }
        let readiness = async {
            if let Some((probe, container, ip)) = watch(&container.readiness_probe) {
                probe::watch(probe, container, ip, false, |passing| {
                    self.update(|view| view.ready = passing)
                })
                .await;
            }
        };
        let liveness = async {
            if let Some((probe, container, ip)) = watch(&container.liveness_probe) {
                let report = |passing: bool| {
                    if !passing {
                        self.unhealthy.cancel();
                    }
                };
                probe::watch(probe, container, ip, true, report).await;
            }
        };
        tokio::join!(readiness, liveness);
    }

    fn update(&self, update: impl FnOnce(&mut ContainerView)) {
        update(&mut self.view.lock());
        (self.changed)();
    }
}

/// What the status tells of the runs before this process was started.
struct Before {
    /// How the last run ended; one that was still running then was killed with its node.
    last: Option<Ended>,
    restarts: i32,
}

impl Before {
    fn of(held: Option<&ContainerStatus>, now: Timestamp) -> Self {
        let state = held.and_then(|held| held.state.as_ref());
        let running = state.and_then(|state| state.running.as_ref());
        let killed = running.map(|running| Ended {
            code: 128 + libc::SIGKILL,
            started: running.started_at.as_ref().map_or(now, |time| time.0),
            finished: now,
            message: None,
        });
        let ended = state.and_then(|state| state.terminated.as_ref());
        let earlier = held.and_then(|held| held.last_state.as_ref()?.terminated.as_ref());
        Self {
            last: killed.or_else(|| ended.or(earlier).map(|held| Ended::of(held, now))),
            restarts: held.map_or(0, |held| held.restart_count),
        }
    }

    /// One more start, if there was any.
    fn next_restarts(&self) -> i32 {
        self.restarts + i32::from(self.last.is_some())
    }
}

struct Supervisor {
    spawner: Spawner,
    task: Task,
    log: Arc<Log>,
    view: Arc<Mutex<ContainerView>>,
    /// How long it gets to end by itself.
    grace: Arc<Mutex<Duration>>,
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl Supervisor {
    fn update(&self, update: impl FnOnce(&mut ContainerView)) {
        update(&mut self.view.lock());
        (self.changed)();
    }

    async fn run(&self, stop: CancellationToken) {
        if let Some(after) = &self.task.after
            && stop.run_until_cancelled(after.cancelled()).await.is_none()
        {
            return;
        }
        let mut failures = 0;
        loop {
            let started = Timestamp::now();
            let since = Instant::now();
            let (code, message) = match self.run_once(started, &stop).await {
                Ok(status) => (exit_code(status), None),
                Err(error) => (128, Some(error.to_string())),
            };
            let ended = Ended {
                code,
                started,
                finished: Timestamp::now(),
                message,
            };
            if stop.is_cancelled() || !self.task.restart.follows(code) {
                let has_done_it = self.task.role == Role::Init && code == 0;
                self.update(|view| {
                    view.started = false;
                    view.ready = has_done_it;
                    view.state = State::Ended(ended);
                });
                if has_done_it {
                    self.task.opens.cancel();
                }
                return;
            }
            if since.elapsed() >= STABLE {
                failures = 0;
            }
            let delay = RESTART.delay(failures + 1, 0.0);
            failures += 1;
            self.update(|view| {
                view.started = false;
                view.ready = false;
                view.last = Some(ended);
                let message = format!(
                    "back-off {}s restarting failed container={}",
                    delay.as_secs(),
                    view.name
                );
                view.state = State::Waiting {
                    reason: "CrashLoopBackOff",
                    message: Some(message),
                };
            });
            if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                self.update(|view| {
                    if let Some(last) = view.last.clone() {
                        view.state = State::Ended(last);
                    }
                });
                return;
            }
            self.update(|view| view.restarts += 1);
        }
    }

    async fn run_once(&self, started: Timestamp, stop: &CancellationToken) -> io::Result<ExitStatus> {
        let mut child = self.spawner.spawn(self.command()).await?;
        let pid = child.id();
        if let Some(pid) = pid {
            record(&self.task.pid_file, pid)?;
        }
        let mut tasks = JoinSet::new();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            let (lines, written) = mpsc::channel(256);
            tasks.spawn(forward(out, lines.clone()));
            tasks.spawn(forward(err, lines));
            tasks.spawn(append(self.log.clone(), written));
        }
        self.update(|view| {
            view.state = State::Running { since: started };
            view.started = self.task.container.startup_probe.is_none();
            view.ready = view.started && self.task.is_ready_once_started();
        });
        let mut probes = JoinSet::new();
        let unhealthy = self.start_probes(&mut probes);
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => self.end(&mut child).await,
            () = unhealthy.cancelled() => self.end(&mut child).await,
        };
        probes.shutdown().await;
        let _ = std::fs::remove_file(&self.task.pid_file);
        // The pipes close with the process; what it said last is in them.
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
        status
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.task.program);
        command.args(&self.task.args).env_clear().envs(&self.task.env);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in the terminal is for the minicluster, which then stops its pods in order.
        command.process_group(0);
        sys::die_with_parent(&mut command);
        command
    }

    /// Asks the probes; the token tells that the startup or the liveness probe has failed.
    fn start_probes(&self, tasks: &mut JoinSet<()>) -> CancellationToken {
        let unhealthy = CancellationToken::new();
        let probes = Probes {
            task: self.task.clone(),
            view: self.view.clone(),
            changed: self.changed.clone(),
            unhealthy: unhealthy.clone(),
        };
        tasks.spawn(probes.run());
        unhealthy
    }

    async fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let grace = *self.grace.lock();
        if let Some(pid) = child.id()
            && !grace.is_zero()
            && sys::signal(pid, libc::SIGTERM).is_ok()
            && let Ok(status) = tokio::time::timeout(grace, child.wait()).await
        {
            return status;
        }
        child.start_kill()?;
        child.wait().await
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

async fn forward(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        line.clear();
        if lines.send(text).await.is_err() {
            return;
        }
    }
}

async fn append(log: Arc<Log>, mut lines: mpsc::Receiver<String>) {
    let mut appender = match log.appender().await {
        Ok(appender) => appender,
        Err(error) => {
            tracing::warn!(%error, "cannot open the log of a container");
            None
        }
    };
    // Without a file the lines are read all the same: the process must not stand still.
    while let Some(line) = lines.recv().await {
        if let Some(appender) = appender.as_mut()
            && let Err(error) = appender.note(&line).await
        {
            tracing::warn!(%error, "cannot write the log of a container");
        }
    }
}

/// Records a process by id and start time.
fn record(file: &Path, pid: u32) -> io::Result<()> {
    let started = sys::start_time(pid).unwrap_or(0);
    std::fs::write(file, format!("{pid} {started}\n"))
}

/// Ends what the last run of this data directory left running, and waits until it is gone.
pub(crate) async fn end_leftovers(pods_dir: &Path) {
    let mut left = Vec::new();
    for pod in std::fs::read_dir(pods_dir).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(pod.path()).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "pid") {
                left.extend(leftover(&path));
                let _ = std::fs::remove_file(path);
            }
        }
    }
    for (pid, started) in &left {
        tracing::info!(pid, "ending a process of the last run");
        if let Err(error) = sys::signal(*pid, libc::SIGKILL) {
            tracing::warn!(pid, %error, "cannot end a process of the last run");
        }
        let deadline = Instant::now() + VANISH;
        while sys::start_time(*pid) == Some(*started) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn leftover(file: &Path) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
    // Ids are used again: only the same start time makes it the same process.
    (sys::start_time(pid) == Some(started)).then_some((pid, started))
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
