//! Our API server answers as kube-apiserver did when its answers were recorded.
//!
//! `WIRE_RECORD=1` records them anew first, where the binaries of a real control plane lie.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use wire::client::Client;
use wire::run::Recorded;
use wire::{case, golden, odd, real, run};

/// Cases that run at a time, if they may.
const SIDE_BY_SIDE: usize = 4;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: apiserver::Args,
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A server of ours that stops when this is dropped.
struct Ours {
    client: Client,
    shutdown: CancellationToken,
    _data: tempfile::TempDir,
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn ours() -> anyhow::Result<Ours> {
    let data = tempfile::tempdir()?;
    let tokens = data.path().join("tokens.csv");
    std::fs::write(&tokens, real::TOKENS)?;
    let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
    let line = Line::try_parse_from([
        "apiserver".to_owned(),
        flag("data-dir", &data.path().join("data").display()),
        flag("secure-port", &0),
        flag("token-auth-file", &tokens.display()),
        flag("service-cluster-ip-range", &"10.0.0.0/16"),
        flag("service-account-issuer", &"https://kubernetes.default.svc"),
        flag("disable-admission-plugins", &"ServiceAccount"),
    ])?;
    let shutdown = CancellationToken::new();
    let running = apiserver::start(line.args, apiserver::Profile::Member, shutdown.clone()).await?;
    let client = Client::new(&running.url, &running.ca_pem, real::ADMIN_TOKEN)?;
    Ok(Ours {
        client,
        shutdown,
        _data: data,
    })
}

/// A real server to record answers of, if that is asked for.
async fn recorder() -> anyhow::Result<Option<real::Real>> {
    if std::env::var_os("WIRE_RECORD").is_none() {
        return Ok(None);
    }
    let binaries = real::binaries().ok_or_else(|| anyhow::anyhow!("the binaries to record from are not installed"))?;
    real::start(&binaries).await.map(Some)
}

/// Fails for answers that differ and should not, and for those that should and do not any more. `mine` tells the
/// lines of `known.txt` that are about these answers.
fn judge(all: Vec<(String, Vec<Recorded>)>, mine: fn(&str) -> bool) -> anyhow::Result<()> {
    let known: BTreeSet<String> = golden::known(folder())?.into_iter().filter(|id| mine(id)).collect();
    let (mut unexpected, mut seen, mut total) = (Vec::new(), BTreeSet::new(), 0);
    for (case, got) in all {
        let wanted = golden::read(folder(), &case)?;
        let got = odd::comparable(&wanted, got);
        total += got.len();
        for difference in golden::compare(&case, &wanted, &got) {
            let sometimes = known.contains(&format!("?{}", difference.id));
            if !known.contains(&difference.id) && !sometimes {
                unexpected.push(difference.id.clone());
            }
            println!("{}\n{}", difference.id, difference.diff);
            seen.insert(difference.id);
        }
    }
    let gone: Vec<_> = known.difference(&seen).filter(|id| !id.starts_with('?')).collect();
    println!("{total} answers, {} of them known to differ", seen.len());
    assert!(
        unexpected.is_empty() && gone.is_empty(),
        "answers that differ from kube-apiserver's, and should not: {unexpected:#?}\n\
         answers that no longer differ, to be taken out of known.txt: {gone:#?}"
    );
    Ok(())
}

/// Answers to all cases. Those of fixtures have an object each, and run side by side: watches are waited for.
async fn answers(cases: &[case::Case], client: &Client) -> anyhow::Result<Vec<(String, Vec<Recorded>)>> {
    let (of_fixtures, others): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.fixture.is_some());
    let answer = async |case: &case::Case| anyhow::Ok((case.name.clone(), run::run(case, client).await?));
    let mut all = Vec::new();
    for case in others {
        all.push(answer(case).await?);
    }
    let rest = stream::iter(of_fixtures).map(answer).buffer_unordered(SIDE_BY_SIDE);
    all.extend(rest.try_collect::<Vec<_>>().await?);
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_recorded_one() -> anyhow::Result<()> {
    let cases = case::load(folder())?;
    if let Some(real) = recorder().await? {
        for case in &cases {
            golden::write(folder(), &case.name, &run::run(case, &real.client).await?)?;
        }
    }
    let ours = ours().await?;
    judge(answers(&cases, &ours.client).await?, |id| !id.starts_with("odd-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_objects_are_taken_or_refused_as_recorded() -> anyhow::Result<()> {
    let fixtures = case::fixtures(&folder().join("odd"))?;
    if let Some(real) = recorder().await? {
        for fixture in &fixtures {
            golden::write(
                folder(),
                &odd::case_name(fixture),
                &odd::run(fixture, &real.client).await,
            )?;
        }
    }
    let ours = ours().await?;
    let answer = async |fixture| (odd::case_name(fixture), odd::run(fixture, &ours.client).await);
    let all = stream::iter(&fixtures).map(answer).buffer_unordered(SIDE_BY_SIDE);
    judge(all.collect().await, |id| id.starts_with("odd-"))
}
