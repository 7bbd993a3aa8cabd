//! The members: API servers of miniclusters, many in a process, and a stub in the place of their nodes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use apimachinery::{Object, meta};
use client::{
    Informer, Key, Queue, Rest,
    informer::{Change, Scope},
    queue::{self, Outcome},
    resources::DEPLOYMENTS,
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

/// Where a member is.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// URL of its API server.
    pub(crate) url: String,
    /// Kubeconfig of its administrator.
    pub(crate) kubeconfig: PathBuf,
}

impl Member {
    fn line(&self) -> String {
        format!("{} {} {}", self.name, self.url, self.kubeconfig.display())
    }

    /// Reads what [`run`] printed.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().with_context(|| format!("not a member: {line:?}"));
        Ok(Self {
            name: word()?.to_owned(),
            url: word()?.to_owned(),
            kubeconfig: word()?.into(),
        })
    }
}

/// Runs members until standard input ends; prints a line for each.
pub(crate) async fn run(dir: &Path, names: &[String]) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut nodes = Vec::new();
    for name in names {
        let data = format!("--data-dir={}", dir.join(name).display());
        let args = apiserver::Args::parse_line([&data, "--secure-port=0", "--shutdown-grace-period=0s"])?;
        let running = apiserver::start(args, apiserver::Profile::Member, stop.clone()).await?;
        let member = Member {
            name: name.clone(),
            url: running.url,
            kubeconfig: running.admin_kubeconfig,
        };
        let rest = client::connect::kubeconfig(name, &member.kubeconfig, None).await?;
        nodes.push(stand_in(rest, &stop));
        println!("{}", member.line());
    }
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    stop.cancel();
    drop(nodes);
    Ok(())
}

/// What of a Deployment the stub needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    generation: i64,
    replicas: i64,
    reported: bool,
}

/// Reports the replicas of every Deployment as ready.
fn stand_in(rest: Rest, stop: &CancellationToken) -> Informer<Wanted> {
    let queue: Arc<Queue<Key>> = Arc::default();
    let informer = {
        let queue = Arc::clone(&queue);
        Informer::start(
            rest.clone(),
            Scope::all(DEPLOYMENTS),
            |object| Some(wanted(&object)),
            move |change: Change<'_, Wanted>| queue.add(change.key.clone()),
        )
    };
    let store = Arc::clone(&informer.store);
    tokio::spawn(queue::run(queue, 4, stop.clone(), move |key: Key| {
        let (store, rest) = (Arc::clone(&store), rest.clone());
        async move {
            let Some(wanted) = store.get(&key).filter(|w| !w.reported) else {
                return Outcome::Done;
            };
            let n = wanted.replicas;
            let status = json!({"status": {"observedGeneration": wanted.generation, "replicas": n,
                "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n}});
            match rest.merge(&DEPLOYMENTS, &key, "/status", &status).await {
                Ok(_) => Outcome::Done,
                Err(error) => Outcome::Retry(error.retry_after()),
            }
        }
    }));
    informer
}

fn wanted(object: &Object) -> Wanted {
    let (generation, replicas) = (
        meta::generation(object),
        object["spec"]["replicas"].as_i64().unwrap_or(0),
    );
    let status = &object["status"];
    Wanted {
        generation,
        replicas,
        reported: status["observedGeneration"] == generation
            && status["readyReplicas"].as_i64().unwrap_or(0) == replicas,
    }
}
