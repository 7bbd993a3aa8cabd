//! `kubefed local`: a federation of miniclusters on this machine, for trying out, demos and tests.
//!
//! Everything lives in one directory: data, logs, credentials, and `local.json`, which records the ports and
//! processes. `up` on a directory that has been used before brings back what was there, whatever happened to the
//! processes in between; `init` and `join` are the very ones for real clusters.

mod cluster;
mod down;
pub(crate) mod process;
mod real;
mod state;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use down::stop as stop_all;
pub(crate) use state::{ClusterState, State};

/// What the clusters of a local federation are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kubernetes {
    /// Clusters in one process each.
    #[default]
    Mini,
    /// kube-apiserver, etcd and kube-controller-manager, with our node agent as their kubelet.
    Real,
}

impl Kubernetes {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mini => "mini",
            Self::Real => "real",
        }
    }
}

/// A federation on this machine.
#[derive(Args, Clone)]
pub(crate) struct LocalArgs {
    #[command(subcommand)]
    command: LocalCommand,
}

#[derive(Subcommand, Clone)]
enum LocalCommand {
    /// Start the clusters and the federation, or whatever of them is not running
    Up(up::UpArgs),
    /// Play the whole journey and check every step of it
    Demo(crate::demo::DemoArgs),
    /// Show clusters, addresses and processes
    Status(status::StatusArgs),
    /// Stop everything
    Down(down::DownArgs),
}

/// Where a local federation lives.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// Directory of everything the local federation writes [default: ~/.kubefed/local]
    #[arg(long, value_name = "DIR", env = "KUBEFED_LOCAL_DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    /// The directory, absolute.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.dir {
            Some(dir) => dir.clone(),
            None => std::env::home_dir()
                .context("no home directory: give --dir")?
                .join(".kubefed/local"),
        };
        std::path::absolute(&path).with_context(|| format!("cannot use directory {}", path.display()))
    }
}

pub(crate) async fn run(args: LocalArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        LocalCommand::Up(args) => up::run(args).await,
        LocalCommand::Demo(args) => crate::demo::run(args).await,
        LocalCommand::Status(args) => status::run(args).await,
        LocalCommand::Down(args) => down::run(args).await,
    }
}
