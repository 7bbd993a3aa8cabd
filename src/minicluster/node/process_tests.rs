use super::*;

struct Bench {
    dir: tempfile::TempDir,
    changes: mpsc::UnboundedReceiver<()>,
    tell: mpsc::UnboundedSender<()>,
    log: Arc<Log>,
    opens: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tell, changes) = mpsc::unbounded_channel();
        let log = Arc::new(Log::in_file(dir.path().join("a.log")));
        Self {
            dir,
            changes,
            tell,
            log,
            opens: CancellationToken::new(),
        }
    }

    fn start(&self, script: &str, restart: Restart) -> Process {
        self.start_as(Role::Main, None, script, restart)
    }

    fn start_as(&self, role: Role, after: Option<CancellationToken>, script: &str, restart: Restart) -> Process {
        let task = Task {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: [("GREETING".to_owned(), "hello".to_owned())].into(),
            pid_file: self.dir.path().join("a.pid"),
            container: Container {
                name: "a".into(),
                ..Container::default()
            },
            ip: "127.0.0.1".into(),
            restart,
            grace: Duration::from_secs(5),
            role,
            after,
            opens: self.opens.clone(),
        };
        let tell = self.tell.clone();
        Process::start(Spawner::start().unwrap(), task, self.log.clone(), None, move || {
            let _ = tell.send(());
        })
    }

    async fn until(&mut self, process: &Process, what: impl Fn(&ContainerView) -> bool) -> ContainerView {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !what(&process.view()) {
                self.changes.recv().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("still {:?}", process.view()));
        process.view()
    }
}

#[test]
fn images_named_federation_are_processes() {
    for (image, expected) in [
        ("ghcr.io/kubefed/federation:v1", true),
        ("kubefed/federation", true),
        ("registry:5000/x/federation@sha256:00", true),
        ("federation", false),
        ("nginx", false),
        ("kubefed/federation-tools:1", false),
    ] {
        assert_eq!(is_process(Some(image)), expected, "{image}");
    }
}

#[tokio::test]
async fn output_is_logged_and_the_exit_code_reported() {
    let mut bench = Bench::new();
    let process = bench.start("echo $GREETING; echo again >&2; exit 3", Restart::Never);
    let view = bench
        .until(&process, |view| matches!(view.state, State::Ended(_)))
        .await;
    assert!(matches!(view.state, State::Ended(Ended { code: 3, .. })));
    let mut texts: Vec<_> = bench.log.read(0).await.0.into_iter().map(|line| line.text).collect();
    texts.sort();
    assert_eq!(texts, ["again", "hello"]);
}

#[tokio::test]
async fn a_process_that_fails_is_started_again() {
    let mut bench = Bench::new();
    let process = bench.start("exit 1", Restart::Always);
    let waiting = bench.until(&process, |view| {
        matches!(
            view.state,
            State::Waiting {
                reason: "CrashLoopBackOff",
                ..
            }
        )
    });
    let waiting = waiting.await;
    assert_eq!(waiting.last.map(|last| last.code), Some(1));
    process.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn stopping_asks_first_and_waits_for_the_end() {
    let mut bench = Bench::new();
    let process = bench.start(
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        Restart::Always,
    );
    bench
        .until(&process, |view| matches!(view.state, State::Running { .. }))
        .await;
    let mut changes = bench.log.changes();
    while bench.log.read(0).await.0.is_empty() {
        changes.changed().await.unwrap();
    }
    process.stop(Duration::from_secs(5)).await;
    assert!(matches!(process.view().state, State::Ended(Ended { code: 0, .. })));
    assert!(bench.log.read(0).await.0.iter().any(|line| line.text == "bye"));
    assert!(!bench.dir.path().join("a.pid").exists());
}

#[tokio::test]
async fn what_the_last_run_left_is_ended_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let pod = dir.path().join("uid");
    std::fs::create_dir(&pod).unwrap();
    let spawn = || Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let (mut left, other) = (spawn(), spawn());
    record(&pod.join("a.pid"), left.id().unwrap()).unwrap();
    // Another process that got the id of one that has ended.
    std::fs::write(pod.join("b.pid"), format!("{} 1\n", other.id().unwrap())).unwrap();
    end_leftovers(dir.path()).await;
    assert_eq!(exit_code(left.wait().await.unwrap()), 137);
    assert!(sys::start_time(other.id().unwrap()).is_some());
}

#[tokio::test]
async fn a_container_starts_only_after_the_init_container_has_done_its_work() {
    let mut bench = Bench::new();
    let done = bench.dir.path().join("done");
    let script = format!("sleep 0.2; touch {}", done.display());
    let init = bench.start_as(Role::Init, None, &script, Restart::OnFailure);
    let script = format!("test -e {} && echo found", done.display());
    let main = bench.start_as(Role::Main, Some(bench.opens.clone()), &script, Restart::Never);
    assert!(matches!(
        main.view().state,
        State::Waiting {
            reason: "PodInitializing",
            ..
        }
    ));
    let view = bench.until(&main, |view| matches!(view.state, State::Ended(_))).await;
    assert!(matches!(view.state, State::Ended(Ended { code: 0, .. })));
    assert!(init.view().ready);
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed_after_the_grace_of_its_deletion() {
    let mut bench = Bench::new();
    let process = bench.start("trap '' TERM; echo up; while :; do sleep 0.05; done", Restart::Always);
    bench.until(&process, |view| view.ready).await;
    while bench.log.read(0).await.0.is_empty() {
        bench.log.changes().changed().await.unwrap();
    }
    let told = Instant::now();
    process.stop(Duration::from_millis(200)).await;
    assert!(told.elapsed() >= Duration::from_millis(200) && told.elapsed() < Duration::from_secs(5));
    assert!(matches!(process.view().state, State::Ended(Ended { code: 137, .. })));
}
