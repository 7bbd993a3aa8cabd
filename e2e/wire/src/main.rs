//! Records answers from a real kube-apiserver, or replays the requests to a server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use wire::client::Client;
use wire::{case, golden, odd, real, run};

#[derive(Parser)]
enum Command {
    /// Start a real kube-apiserver and record what it answers.
    Record {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Send every mutation of the odd objects to two servers and print what differs.
    Differ {
        #[command(flatten)]
        chosen: Chosen,
        /// The real one, `https://host:port`.
        #[arg(long)]
        real: String,
        /// File with the certificates to trust of the real one.
        #[arg(long)]
        real_ca: PathBuf,
        /// Ours, `https://host:port`.
        #[arg(long)]
        server: String,
        /// File with the certificates to trust of ours.
        #[arg(long)]
        ca: PathBuf,
        /// Bearer token of an administrator of both.
        #[arg(long, default_value = real::ADMIN_TOKEN)]
        token: String,
    },
    /// Send the requests to a server and print what differs.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
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

/// The recorded cases to work with.
#[derive(clap::Args)]
struct Chosen {
    /// Folder with `cases`, `fixtures`, `odd` and `golden`.
    #[arg(long, default_value = "e2e/wire")]
    dir: PathBuf,
    /// Only cases whose name begins so.
    #[arg(long, default_value = "")]
    only: String,
}

impl Chosen {
    fn cases(&self) -> Result<Vec<case::Case>> {
        let mut all = case::load(&self.dir)?;
        all.retain(|case| case.name.starts_with(&self.only));
        Ok(all)
    }

    /// The odd objects whose case begins so.
    fn odd(&self) -> Result<Vec<case::Fixture>> {
        let mut all = case::fixtures(&self.dir.join("odd"))?;
        all.retain(|fixture| odd::case_name(fixture).starts_with(&self.only));
        Ok(all)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Record { chosen } => {
            let binaries = real::binaries().context("kube-apiserver and etcd are not installed")?;
            let real = real::start(&binaries).await?;
            for case in &chosen.cases()? {
                golden::write(&chosen.dir, &case.name, &run::run(case, &real.client).await?)?;
            }
            for fixture in &chosen.odd()? {
                golden::write(
                    &chosen.dir,
                    &odd::case_name(fixture),
                    &odd::run(fixture, &real.client).await,
                )?;
            }
            Ok(())
        }
        Command::Differ {
            chosen,
            real,
            real_ca,
            server,
            ca,
            token,
        } => {
            let client = |url: &str, ca| Client::new(url, &std::fs::read_to_string(ca)?, &token);
            let (real, ours) = (client(&real, real_ca)?, client(&server, ca)?);
            for fixture in &chosen.odd()? {
                let (wanted, got) = tokio::join!(odd::run(fixture, &real), odd::run(fixture, &ours));
                let got = odd::comparable(&wanted, got);
                let differences = golden::compare(&odd::case_name(fixture), &wanted, &got);
                for difference in &differences {
                    println!("{}\n{}", difference.id, difference.diff);
                }
                println!(
                    "{} of {} answers about {} differ",
                    differences.len(),
                    got.len(),
                    fixture.name
                );
            }
            Ok(())
        }
        Command::Replay {
            chosen,
            server,
            ca,
            token,
        } => {
            let client = Client::new(&server, &std::fs::read_to_string(ca)?, &token)?;
            let (mut total, mut different) = (0, 0);
            for case in &chosen.cases()? {
                let got = run::run(case, &client).await?;
                total += got.len();
                for difference in golden::compare(&case.name, &golden::read(&chosen.dir, &case.name)?, &got) {
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
