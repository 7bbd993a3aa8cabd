//! Records answers from a real kube-apiserver, or replays the requests to a server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use wire::client::Client;
use wire::{case, golden, real, run};

#[derive(Parser)]
enum Command {
    /// Start a real kube-apiserver and record what it answers.
    Record {
        /// Folder with `cases`, `fixtures` and `golden`.
        #[arg(long, default_value = "e2e/wire")]
        dir: PathBuf,
        /// Only cases whose name begins so.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Send the requests to a server and print what differs.
    Replay {
        /// Folder with `cases`, `fixtures` and `golden`.
        #[arg(long, default_value = "e2e/wire")]
        dir: PathBuf,
        /// Only cases whose name begins so.
        #[arg(long, default_value = "")]
        only: String,
        /// `https://host:port`.
        #[arg(long)]
        server: String,
        /// File with the certificates to trust.
        #[arg(long)]
        ca: PathBuf,
        /// Bearer token of an administrator.
        #[arg(long, default_value = real::ADMIN_TOKEN)]
        token: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Record { dir, only } => {
            let binaries = real::binaries().context("kube-apiserver and etcd are not installed")?;
            let real = real::start(&binaries).await?;
            for case in case::load(&dir)?.iter().filter(|case| case.name.starts_with(&only)) {
                golden::write(&dir, &case.name, &run::run(case, &real.client).await?)?;
            }
            Ok(())
        }
        Command::Replay {
            dir,
            only,
            server,
            ca,
            token,
        } => {
            let client = Client::new(&server, &std::fs::read_to_string(ca)?, &token)?;
            let (mut total, mut different) = (0, 0);
            for case in case::load(&dir)?.iter().filter(|case| case.name.starts_with(&only)) {
                let got = run::run(case, &client).await?;
                total += got.len();
                for difference in golden::compare(&case.name, &golden::read(&dir, &case.name)?, &got) {
                    different += 1;
                    println!("{}\n{}", difference.id, difference.diff);
                }
            }
            println!("{different} of {total} answers differ");
            if different == 0 {
                Ok(())
            } else {
                bail!("answers differ")
            }
        }
    }
}
