//! The load balancer alone, for measuring and profiling: it builds in a fraction of the time of `federation`.
//!
//! `cargo run --release -p lb --example lb-serve -- --config-file objects.json --http-bind-address 127.0.0.1:8080`

use clap::Parser as _;

/// As in `federation`: what is measured here is what runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: lb::Args,
}

#[tokio::main]
async fn main() -> Result<(), lb::Error> {
    lb::run(Cli::parse().args, telemetry::shutdown_signal()).await
}
