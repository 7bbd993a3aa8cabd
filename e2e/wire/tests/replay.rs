//! Our API server answers as kube-apiserver did when its answers were recorded.
//!
//! `WIRE_RECORD=1` records them anew first, where the binaries of a real control plane lie.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use wire::client::Client;
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

async fn record(cases: &[case::Case]) -> anyhow::Result<()> {
    let binaries = real::binaries().ok_or_else(|| anyhow::anyhow!("kube-apiserver and etcd are not installed"))?;
    let real = real::start(&binaries).await?;
    for case in cases {
        golden::write(folder(), &case.name, &run::run(case, &real.client).await?)?;
    }
    for fixture in &case::fixtures(&folder().join("odd"))? {
        golden::write(
            folder(),
            &odd::case_name(fixture),
            &odd::run(fixture, &real.client).await,
        )?;
    }
    Ok(())
}

/// Answers to all cases. Those of fixtures have an object each, and run side by side: watches are waited for.
async fn answers(cases: &[case::Case], client: &Client) -> anyhow::Result<Vec<(String, Vec<run::Recorded>)>> {
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

/// What becomes of odd objects. They are created for trial only, side by side.
async fn odd_answers(fixtures: &[case::Fixture], client: &Client) -> Vec<(String, Vec<run::Recorded>)> {
    let answer = async |fixture| (odd::case_name(fixture), odd::run(fixture, client).await);
    stream::iter(fixtures)
        .map(answer)
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_recorded_one() -> anyhow::Result<()> {
    let cases = case::load(folder())?;
    if std::env::var_os("WIRE_RECORD").is_some() {
        record(&cases).await?;
    }
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
    let known = golden::known(folder())?;
    let (mut unexpected, mut seen, mut total) = (Vec::new(), BTreeSet::new(), 0);
    let mut all = answers(&cases, &client).await?;
    all.extend(odd_answers(&case::fixtures(&folder().join("odd"))?, &client).await);
    for (case, got) in all {
        total += got.len();
        let wanted: Vec<_> = golden::read(folder(), &case)?
            .into_iter()
            .filter(odd::is_model)
            .collect();
        for difference in golden::compare(&case, &wanted, &got) {
            let sometimes = known.contains(&format!("?{}", difference.id));
            if !known.contains(&difference.id) && !sometimes {
                unexpected.push(difference.id.clone());
            }
            println!("{}\n{}", difference.id, difference.diff);
            seen.insert(difference.id);
        }
    }
    shutdown.cancel();
    let gone: Vec<_> = known.difference(&seen).filter(|id| !id.starts_with('?')).collect();
    println!("{total} answers, {} of them known to differ", seen.len());
    assert!(
        unexpected.is_empty() && gone.is_empty(),
        "answers that differ from kube-apiserver's, and should not: {unexpected:#?}\n\
         answers that no longer differ, to be taken out of known.txt: {gone:#?}"
    );
    Ok(())
}
