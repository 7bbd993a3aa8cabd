//! `kubefed`: the federation's command line.
//!
//! Users create a control plane (`init`), add and remove member clusters (`join`, `unjoin`), try everything out on
//! one machine (`local`), take one
//! out of service (`cordon`, `drain`), and look ahead (`plan`, `traffic`). Everything else is plain kubectl.

mod apply;
mod certificates;
mod demo;
mod federation;
mod init;
mod join;
mod kubeconfig;
mod lifecycle;
mod local;
mod plan;
mod progress;
mod traffic;
mod unjoin;
mod version;

use clap::{Args, Parser, Subcommand};

/// Many Kubernetes clusters, one place to deploy to them, one address that serves the world.
#[derive(Parser)]
#[command(name = "kubefed", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command that talks to clusters.
#[derive(Args, Clone)]
struct Common {
    /// The kubeconfig file with the contexts of host, members and federation [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Context of the federation [default: the name of the federation in the host cluster]
    #[arg(long, global = true, value_name = "CONTEXT")]
    context: Option<String>,
    /// Namespace of the control plane in the host cluster, and of credentials in members
    #[arg(long, global = true, default_value = api::well_known::SYSTEM_NAMESPACE, value_name = "NAMESPACE")]
    federation_system_namespace: String,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            federation_system_namespace: api::well_known::SYSTEM_NAMESPACE.to_owned(),
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Start a federation control plane in a host cluster
    Init(Box<init::InitArgs>),
    /// Add a cluster to the federation
    Join(join::JoinArgs),
    /// Remove a cluster from the federation
    Unjoin(unjoin::UnjoinArgs),
    /// A federation of small clusters on this machine
    Local(local::LocalArgs),
    /// Show what would run where, and why
    Plan(plan::PlanArgs),
    /// Give a cluster no new replicas; those that run there stay
    Cordon(lifecycle::CordonArgs),
    /// Undo cordon and drain: the cluster gets its share back
    Uncordon(lifecycle::CordonArgs),
    /// Move everything out of a cluster: traffic first, then replicas
    Drain(lifecycle::DrainArgs),
    /// Show who would be served where, offline
    Traffic(traffic::TrafficArgs),
    /// Print the versions of this program and of the federation
    Version(version::VersionArgs),
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Init(args) => init::run(&cli.common, *args).await,
        Command::Join(args) => join::run(&cli.common, args).await,
        Command::Unjoin(args) => unjoin::run(&cli.common, args).await,
        Command::Local(args) => local::run(args).await,
        Command::Plan(args) => plan::run(&cli.common, args).await,
        Command::Cordon(args) => lifecycle::cordon(&cli.common, args).await,
        Command::Uncordon(args) => lifecycle::uncordon(&cli.common, args).await,
        Command::Drain(args) => lifecycle::drain(&cli.common, args).await,
        Command::Traffic(args) => traffic::run(args).map(|()| std::process::ExitCode::SUCCESS),
        Command::Version(args) => version::run(&cli.common, args).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
