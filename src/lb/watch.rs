//! Watching the federation API, publishing what it says, and writing back where Ingresses are served.
//!
//! # Guarantees
//! What was served keeps being served while the API is away, and after a restart without the API if there is a data
//! directory. A change is published within [`BATCH`] of its arrival.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use apimachinery::Object;
use client::{
    Informer, Key, Resource, Rest,
    events::{Recorder, Severity, Subject},
    informer::Scope,
    resources::{CLUSTERS, ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES},
};
use tokio::sync::Notify;

use crate::{
    model::{self, Objects, OwnIngress},
    runtime::publish,
    serve::Shared,
    status::Publisher,
};

/// Changes within this time are published together.
const BATCH: Duration = Duration::from_millis(10);
/// Status and events are looked at this often even if nothing changes: what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// A backend without endpoints is reported after this time: pods take a while to start.
const GRACE: Duration = Duration::from_secs(15);
/// Name of the last known configuration in the data directory.
const SAVED: &str = "config.json";

/// The last known configuration cannot be used or kept.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file cannot be read or written.
    #[error("cannot access {path}")]
    Access {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{path} is no saved configuration")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

struct Informers {
    ingresses: Informer<Object>,
    classes: Informer<Object>,
    services: Informer<Object>,
    slices: Informer<Object>,
    clusters: Informer<Object>,
    secrets: Informer<Object>,
}

impl Informers {
    fn start(rest: &Rest, changed: &Arc<Notify>) -> Self {
        let watch = |resource: Resource| {
            let changed = Arc::clone(changed);
            Informer::start(
                rest.clone(),
                Scope::all(resource),
                move |object| reduce(resource, object),
                move |_| changed.notify_one(),
            )
        };
        Self {
            ingresses: watch(INGRESSES),
            classes: watch(INGRESS_CLASSES),
            services: watch(SERVICES),
            slices: watch(ENDPOINT_SLICES),
            clusters: watch(CLUSTERS),
            secrets: watch(SECRETS),
        }
    }

    fn all(&self) -> [&Informer<Object>; 6] {
        [
            &self.ingresses,
            &self.classes,
            &self.services,
            &self.slices,
            &self.clusters,
            &self.secrets,
        ]
    }

    async fn synced(&self) {
        for informer in self.all() {
            informer.store.synced().await;
        }
    }

    fn problem(&self) -> Option<String> {
        self.all().iter().find_map(|informer| informer.store.problem())
    }

    fn objects(&self) -> Objects {
        let known = |informer: &Informer<Object>| -> BTreeMap<String, Arc<Object>> {
            informer
                .store
                .all()
                .into_iter()
                .map(|(key, object)| (key.as_str().to_owned(), object))
                .collect()
        };
        Objects {
            ingresses: known(&self.ingresses),
            classes: known(&self.classes),
            services: known(&self.services),
            slices: known(&self.slices),
            clusters: known(&self.clusters),
            secrets: known(&self.secrets),
        }
    }
}

/// Keeps what is needed of an object.
fn reduce(resource: Resource, mut object: Object) -> Option<Object> {
    if resource.plural == SECRETS.plural && object["type"] != "kubernetes.io/tls" {
        return None;
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Object::as_object_mut) {
        meta.remove("managedFields");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Object::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    Some(object)
}

/// Publishes what objects mean.
pub fn publish(shared: &Shared, objects: &Objects) -> Vec<OwnIngress> {
    let mut config = model::build(objects);
    let ingresses = std::mem::take(&mut config.ingresses);
    for error in shared.certificates.replace(&config.certificates) {
        tracing::warn!(error = %crate::chain(&error), "a certificate is not served");
    }
    let old = shared.snapshot.load_full();
    let next = publish::snapshot(config, &old, &shared.settings.tuning, &shared.metrics, &shared.clock);
    tracing::debug!(
        generation = next.generation,
        backends = next.backends.len(),
        clusters = next.clusters.len(),
        "configuration published"
    );
    shared
        .metrics
        .config_generation
        .set(i64::try_from(next.generation).unwrap_or(i64::MAX));
    shared.snapshot.store(Arc::new(next));
    shared.probe_now.notify_one();
    ingresses
}

/// What is written back.
#[derive(Debug, Clone, Default)]
pub struct Reporting {
    /// Our entries of `status.loadBalancer.ingress` of Ingresses that are served; none to leave the status alone.
    pub addresses: Vec<Object>,
}

/// Watches until the process stops.
pub async fn run(shared: Arc<Shared>, rest: Rest, reporting: Reporting, data_dir: Option<PathBuf>) {
    let changed = Arc::new(Notify::new());
    let informers = Informers::start(&rest, &changed);
    informers.synced().await;
    tracing::info!("the federation API has been read");
    let recorder = Recorder::start(rest.clone(), "federation-lb", shared.killed.clone());
    let mut publisher = Publisher::start(rest, reporting.addresses);
    let mut reporter = Reporter {
        recorder,
        problems: HashMap::new(),
    };
    let mut published = None;
    let mut ingresses = Vec::new();
    loop {
        let objects = informers.objects();
        if published.as_ref() != Some(&objects) {
            ingresses = publish(&shared, &objects);
            if let Some(dir) = &data_dir
                && let Err(error) = save(dir, &objects)
            {
                tracing::warn!(error = %crate::chain(&error), "the configuration is not saved");
            }
            published = Some(objects.clone());
        }
        shared
            .metrics
            .config_connected
            .set(i64::from(informers.problem().is_none()));
        reporter.report(&shared, &ingresses);
        if let Some(publisher) = &mut publisher {
            publisher.publish(&objects, &ingresses).await;
        }
        let _ = tokio::time::timeout(RETRY, changed.notified()).await;
        tokio::time::sleep(BATCH).await;
    }
}

/// Tells of problems by events.
struct Reporter {
    recorder: Recorder,
    /// Known problems: since when, and whether they were told.
    problems: HashMap<(Arc<str>, &'static str, String), (Instant, bool)>,
}

impl Reporter {
    fn report(&mut self, shared: &Shared, ingresses: &[OwnIngress]) {
        let snapshot = shared.snapshot.load();
        let mut current = HashMap::new();
        for ingress in ingresses {
            let empty = snapshot
                .targets
                .iter()
                .filter(|target| target.ingress == ingress.key)
                .map(|target| &snapshot.backends[target.backend])
                .filter(|backend| backend.problem.is_none() && !backend.has_endpoints())
                .map(|backend| {
                    (
                        "NoEndpoints",
                        format!("service {} has no endpoints in any cluster", backend.key),
                    )
                });
            for (reason, message) in ingress.problems.iter().cloned().chain(empty) {
                let key = (Arc::clone(&ingress.key), reason, message);
                let (since, told) = self.problems.get(&key).copied().unwrap_or((Instant::now(), false));
                let grace = if reason == "NoEndpoints" { GRACE } else { Duration::ZERO };
                let due = !told && since.elapsed() >= grace;
                if due {
                    let subject = Subject {
                        resource: INGRESSES,
                        key: Key::from(&*ingress.key),
                        uid: ingress.uid.clone(),
                    };
                    self.recorder.record(subject, Severity::Warning, reason, key.2.clone());
                }
                current.insert(key, (since, told || due));
            }
        }
        self.problems = current;
    }
}

/// Loads what was saved in a data directory; `None` if nothing was.
///
/// # Errors
/// When there is something that cannot be used.
pub fn load(dir: &Path) -> Result<Option<Objects>, SavedError> {
    let path = dir.join(SAVED);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SavedError::Access { path, source }),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| SavedError::Damaged { path, source })
}

/// Saves for the next start, readable by the owner alone: private keys are in it.
pub(crate) fn save(dir: &Path, objects: &Objects) -> Result<(), SavedError> {
    let path = dir.join(SAVED);
    let next = dir.join(format!("{SAVED}.next"));
    let text = serde_json::to_vec(objects).map_err(|source| SavedError::Damaged {
        path: path.clone(),
        source,
    })?;
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| {
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)
        })
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&next, &path));
    written.map_err(|source| SavedError::Access { path, source })
}
