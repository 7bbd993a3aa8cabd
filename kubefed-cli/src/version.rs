//! `kubefed version`: this program's version, and the federation's if there is one.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::{Common, kubeconfig};

/// Print the versions of this program and of the federation.
#[derive(Args, Clone)]
pub(crate) struct VersionArgs {
    /// Print this program's version only
    #[arg(long)]
    client: bool,
    /// How to print it: text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

pub(crate) async fn run(common: &Common, args: VersionArgs) -> anyhow::Result<ExitCode> {
    let own = env!("CARGO_PKG_VERSION");
    let server = if args.client {
        None
    } else {
        server_version(common).await?
    };
    if args.output == "json" {
        println!(
            "{}",
            serde_json::json!({"clientVersion": {"gitVersion": format!("v{own}")}, "serverVersion": server})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("Client Version: v{own}");
    if let Some(server) = server {
        println!("Server Version: {}", server["gitVersion"].as_str().unwrap_or("unknown"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn server_version(common: &Common) -> anyhow::Result<Option<serde_json::Value>> {
    let config = kubeconfig::read(common)?;
    let Some(context) = common.context.clone().or(config.current_context.clone()) else {
        return Ok(None);
    };
    let client = kubeconfig::client(&config, &context).await?;
    let info = client
        .apiserver_version()
        .await
        .context("cannot read the server's version")?;
    Ok(Some(
        serde_json::to_value(info).context("cannot print the server's version")?,
    ))
}
