//! `make sim`: many member clusters and many federated objects on one machine, as a table.
//!
//! Control plane and members are what a user runs: the API server and the controller manager are processes of the
//! `federation` binary, every member is the API server of a minicluster (a few processes hold all of them), reached
//! over TLS. Left out are node agents and pods: a stub reports that the replicas of a Deployment are ready as soon as
//! they are asked for. What is measured is seen from outside: watches on the members, request counters of their API
//! servers, and what the kernel says of the processes.
//!
//! 1. *fill*: all objects are created as fast as the federation takes them;
//! 2. *sustained*: more are created at a steady rate; an object has arrived when its last copy has;
//! 3. *restart*: the controller manager is killed, a few objects change, and it starts again: those are to be written,
//!    and nothing else.

mod load;
mod members;
mod plane;
mod report;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a federation of many clusters on this machine.
#[derive(Debug, Parser)]
struct Options {
    /// Member clusters
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    /// Federated objects, the sustained ones included
    #[arg(long, default_value_t = 20_000)]
    objects: usize,
    /// Clusters that each object is propagated to; 0 means all
    #[arg(long, default_value_t = 5)]
    copies: usize,
    /// Objects created per second while propagation is measured
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds for which that rate is kept
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Every how manieth object is a Deployment; the others are ConfigMaps. 0 means none
    #[arg(long, default_value_t = 10)]
    deployment_every: usize,
    /// Replicas of each Deployment
    #[arg(long, default_value_t = 10)]
    replicas: u32,
    /// Objects that change while the controller manager is down
    #[arg(long, default_value_t = 20)]
    changed: usize,
    /// Processes that hold the members
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Where the data directories go; they are deleted afterwards. By default shared memory, so that no disk is measured
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Runs some of the members until standard input ends
    #[command(hide = true)]
    Members {
        /// Where their data go.
        dir: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
}

impl Options {
    /// Clusters that an object is propagated to.
    fn copies(&self) -> usize {
        if self.copies == 0 {
            self.clusters
        } else {
            self.copies.min(self.clusters)
        }
    }

    /// Groups of that many clusters; an object selects one group.
    fn groups(&self) -> usize {
        self.clusters / self.copies()
    }

    /// Objects created at the steady rate.
    fn sustained(&self) -> usize {
        let wanted = usize::try_from(u64::from(self.rate) * u64::from(self.seconds)).unwrap_or(usize::MAX);
        wanted.min(self.objects)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(Part::Members { dir, names }) = &options.part {
        return members::run(dir, names).await;
    }
    let directory = tempfile::Builder::new()
        .prefix("kubefed-sim-")
        .tempdir_in(&options.dir)?;
    let mut plane = plane::Plane::start(&options, directory.path()).await?;
    let results = load::measure(&options, &mut plane).await?;
    report::print(&options, &results);
    Ok(())
}
