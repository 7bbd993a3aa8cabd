//! `federation`: every server process of a federation in one binary.
//!
//! This file parses and dispatches; what the processes do is in the crates they are named after.

mod standalone;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The server processes of a Kubernetes federation.
#[derive(Parser)]
#[command(name = "federation", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    logs: telemetry::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The federation API: discovery, objects, watches, access
    Apiserver(Box<apiserver::Args>),
    /// All controllers of the federation
    ControllerManager(Box<controllers::Args>),
    /// The global L7 load balancer
    Lb(Box<lb::Args>),
    /// A member cluster in one process, for trying out, demos and tests
    Minicluster(Box<minicluster::Args>),
    /// apiserver, controller-manager and lb in one process, on the embedded store
    Standalone(Box<standalone::Args>),
}

fn main() -> std::process::ExitCode {
    // A huge page for every small arena would triple the memory of an idle process. Without the right to say so, it does.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = Cli::parse();
    if let Err(error) = telemetry::init_logs(&cli.logs) {
        eprintln!("error: {error}");
        return std::process::ExitCode::FAILURE;
    }
    match serve(cli.command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn serve(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = telemetry::shutdown_signal();
        match command {
            Command::Apiserver(args) => Ok(apiserver::run(*args, shutdown).await?),
            Command::ControllerManager(args) => Ok(controllers::run(*args, shutdown).await?),
            Command::Lb(args) => Ok(lb::run(*args, shutdown).await?),
            Command::Minicluster(args) => Ok(minicluster::run(*args, shutdown).await?),
            Command::Standalone(args) => standalone::run(*args, shutdown).await,
        }
    })
}
