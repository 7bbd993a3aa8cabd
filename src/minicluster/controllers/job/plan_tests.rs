use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn job(spec: Value) -> Job {
    let mut job: Job = serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": {"template": {}}})).unwrap();
    let mut merged = json!({"template": {"spec": {"containers": [], "restartPolicy": "Never"}}});
    merged
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    job.spec = Some(serde_json::from_value(merged).unwrap());
    job
}

fn pod(uid: &str, phase: &str, index: Option<i32>) -> Pod {
    let annotations = index
        .map(|index| json!({INDEX: index.to_string()}))
        .unwrap_or(json!({}));
    serde_json::from_value(json!({
        "metadata": {"name": uid, "uid": uid, "finalizers": [FINALIZER], "annotations": annotations},
        "status": {"phase": phase, "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at(0).to_string()}}}]},
    }))
    .unwrap()
}

/// A Job and its pods; the outside decides how pods end.
struct World {
    job: Job,
    pods: Vec<Pod>,
    serial: u32,
    now: i64,
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            job: job(spec),
            pods: Vec::new(),
            serial: 0,
            now: 0,
        }
    }

    /// One reconcile. True if it changed anything.
    fn step(&mut self) -> bool {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let plan = plan(&self.job, &pods, at(self.now));
        let before = (self.job.status.clone(), self.pods.clone());
        self.job.status = Some(plan.status);
        for pod in plan.release {
            for held in self
                .pods
                .iter_mut()
                .filter(|held| held.metadata.uid == pod.metadata.uid)
            {
                held.metadata.finalizers = None;
            }
        }
        for pod in plan.delete {
            self.pods.retain(|held| held.metadata.uid != pod.metadata.uid);
        }
        for index in plan.create {
            self.serial += 1;
            self.pods.push(pod(&format!("p{}", self.serial), "Running", index));
        }
        before != (self.job.status.clone(), self.pods.clone())
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.step() {
                return;
            }
        }
        panic!("the job does not settle");
    }

    fn running(&self) -> usize {
        self.pods.iter().filter(|pod| pods::phase(pod) == "Running").count()
    }

    fn end_one(&mut self, phase: &str) -> bool {
        let now = at(self.now);
        let Some(pod) = self.pods.iter_mut().find(|pod| pods::phase(pod) == "Running") else {
            return false;
        };
        let status = pod.status.as_mut().unwrap();
        status.phase = Some(phase.to_owned());
        let state = status.container_statuses.as_mut().unwrap()[0].state.as_mut().unwrap();
        state.terminated.as_mut().unwrap().finished_at = Some(Time(now));
        true
    }

    fn status(&self) -> &JobStatus {
        self.job.status.as_ref().unwrap()
    }
}

#[test]
fn a_job_runs_its_completions_a_few_at_a_time() {
    let mut world = World::new(json!({"completions": 5, "parallelism": 2}));
    world.settle();
    assert_eq!(world.running(), 2);
    while world.end_one("Succeeded") {
        world.settle();
        assert!(world.running() <= 2);
    }
    assert_eq!(world.status().succeeded, Some(5));
    assert!(has(world.status(), "Complete") && world.status().completion_time.is_some());
}

#[test]
fn a_job_fails_at_its_backoff_limit() {
    let mut world = World::new(json!({"backoffLimit": 1, "completions": 1}));
    world.settle();
    world.end_one("Failed");
    world.settle();
    assert_eq!(world.running(), 0, "the next pod waits for the backoff");
    world.now += 10;
    world.settle();
    assert_eq!(world.running(), 1);
    world.end_one("Failed");
    world.settle();
    assert!(has(world.status(), "Failed"));
    assert_eq!(world.status().failed, Some(2));
}

#[test]
fn deleting_a_finished_pod_changes_no_count() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 1}));
    world.settle();
    world.end_one("Succeeded");
    world.settle();
    world.pods.retain(|pod| pod.metadata.finalizers.is_some());
    world.settle();
    assert_eq!(world.status().succeeded, Some(1));
}

#[test]
fn an_indexed_job_completes_every_index() {
    let mut world = World::new(json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}));
    world.settle();
    assert_eq!(world.pods.iter().filter_map(index).collect::<Vec<_>>(), [0, 1, 2]);
    while world.end_one("Succeeded") {
        world.settle();
    }
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0-3"));
    assert!(has(world.status(), "Complete"));
}

#[test]
fn a_suspended_job_runs_nothing_and_resumes() {
    let mut world = World::new(json!({"completions": 2, "suspend": true}));
    world.settle();
    assert_eq!((world.running(), has(world.status(), "Suspended")), (0, true));
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!((world.running(), has(world.status(), "Suspended")), (1, false));
}

#[test]
fn a_job_past_its_deadline_fails() {
    let mut world = World::new(json!({"completions": 1, "activeDeadlineSeconds": 5}));
    world.settle();
    world.now += 5;
    world.settle();
    assert!(has(world.status(), "Failed"));
    assert_eq!(world.running(), 0);
}

#[test]
fn index_lists_are_kubes() {
    for text in ["", "0", "0,1", "0-2", "1,3-5,7"] {
        assert_eq!(write_indexes(&read_indexes(text)), text);
    }
}

proptest! {
    #[test]
    fn every_success_is_counted_once(completions in 1..12_i32, parallelism in 1..6_i32, drops in prop::collection::vec(any::<bool>(), 1..20)) {
        let mut world = World::new(json!({"completions": completions, "parallelism": parallelism}));
        let mut ended = 0;
        for round in 0..1000 {
            world.step();
            // Somebody cleans up behind the controller.
            if drops[round % drops.len()] {
                world.pods.retain(|pod| pods::phase(pod) == "Running" || pod.metadata.finalizers.is_some());
            }
            if round % 3 == 0 && world.end_one("Succeeded") {
                ended += 1;
            }
            if is_finished(world.status()) {
                break;
            }
        }
        prop_assert!(has(world.status(), "Complete"));
        prop_assert_eq!((ended, world.status().succeeded), (completions, Some(completions)));
    }
}
