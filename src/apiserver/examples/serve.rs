//! Serves the federation API, for trying the library out alone: `cargo run -p apiserver --example serve -- --data-dir D`.

use clap::Parser;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Options {
    /// Serve the kinds of a member cluster.
    #[arg(long)]
    member: bool,
    #[command(flatten)]
    args: apiserver::Args,
}

#[tokio::main]
async fn main() -> Result<(), apiserver::Error> {
    let options = Options::parse();
    let profile = if options.member {
        apiserver::Profile::Member
    } else {
        apiserver::Profile::Federation
    };
    let running = apiserver::start(options.args, profile, CancellationToken::new()).await?;
    println!("{} {}", running.url, running.admin_kubeconfig.display());
    let _ = running.done.await;
    Ok(())
}
