//! `kubefed local down`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::future::join_all;

use super::{Place, State};

/// How long a cluster may take to stop by itself.
const GRACE: Duration = Duration::from_secs(10);

/// Stop everything.
#[derive(Args, Clone)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    place: Place,
    /// Delete the directory as well: clusters, objects, credentials
    #[arg(long)]
    delete_data: bool,
}

pub(crate) async fn run(args: DownArgs) -> anyhow::Result<ExitCode> {
    let dir = args.place.path()?;
    if State::read(&dir)?.is_none() {
        println!("No local federation in {}.", dir.display());
        return Ok(ExitCode::SUCCESS);
    }
    stop(&dir).await?;
    if args.delete_data {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot delete {}", dir.display()))?;
        println!("Stopped; {} is deleted.", dir.display());
    } else {
        println!("Stopped; data stays in {} (`--delete-data` deletes it).", dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops every process of the local federation.
pub(crate) async fn stop(dir: &Path) -> anyhow::Result<()> {
    let mut state = State::expect(dir)?;
    join_all(state.clusters.iter().map(|cluster| async {
        // The newest first: nodes before the API server they talk to.
        for process in cluster.processes.iter().rev() {
            process.stop(GRACE).await;
        }
    }))
    .await;
    for cluster in &mut state.clusters {
        cluster.processes.clear();
    }
    state.write(dir)
}
