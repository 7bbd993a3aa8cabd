//! `federation standalone`: the three server processes in one.
//!
//! They still talk to each other through the public API alone, over loopback.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::FromArgMatches;
use tokio_util::sync::CancellationToken;

/// Flags of `federation standalone`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    apiserver: apiserver::Args,
    /// Kubeconfig of the cluster that holds members' credentials [default: the federation itself]
    #[arg(long, value_name = "FILE")]
    host_kubeconfig: Option<PathBuf>,
    /// Addresses the load balancer serves HTTP on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:80")]
    http_bind_address: String,
    /// More arguments for the controllers, as for `federation controller-manager`: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    controllermanager_arg_overrides: Vec<String>,
    /// More arguments for the load balancer, as for `federation lb`: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    ingress_arg_overrides: Vec<String>,
}

/// Flags of a part, from its own parser.
fn part<T: clap::Args + FromArgMatches>(name: &'static str, arguments: Vec<String>) -> anyhow::Result<T> {
    let command = T::augment_args(clap::Command::new(name).no_binary_name(true).args_override_self(true));
    let matches = command.try_get_matches_from(arguments);
    let matches = matches.with_context(|| format!("invalid arguments for the {name}"))?;
    T::from_arg_matches(&matches).with_context(|| format!("invalid arguments for the {name}"))
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// Runs until `shutdown`, or until a part fails.
pub(crate) async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = apiserver::start(args.apiserver, apiserver::Profile::Federation, shutdown.clone()).await?;
    let own = &running.admin_kubeconfig;
    let host = args.host_kubeconfig.as_deref().unwrap_or(own);
    let mut for_controllers = vec![flag("kubeconfig", own), flag("host-kubeconfig", host)];
    for_controllers.extend(args.controllermanager_arg_overrides);
    let mut for_lb = vec![
        flag("kubeconfig", own),
        format!("--http-bind-address={}", args.http_bind_address),
    ];
    for_lb.extend(args.ingress_arg_overrides);
    let controllers = controllers::run(part("controller-manager", for_controllers)?, shutdown.clone());
    let lb = lb::run(part("load balancer", for_lb)?, shutdown.clone());
    let ended = tokio::try_join!(async { controllers.await.map_err(anyhow::Error::new) }, async {
        lb.await.map_err(anyhow::Error::new)
    });
    shutdown.cancel();
    running.done.await.context("the API server ended abnormally")?;
    ended.map(|_| ())
}
