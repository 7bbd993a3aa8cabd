//! Active health checks.
//!
//! An endpoint that answers real requests is not asked; the others get a GET every interval (HTTP/2 endpoints: a
//! connection). By default any answer but 502, 503 and 504 counts, since a service's root need not exist; a service that
//! names a health check path must answer below 400 there. A refusal is believed at once, silence the second time; after
//! the third silence in a row the endpoint is dead: requests that wait for it move on where they can. Silence says nothing
//! about an endpoint that answered a request meanwhile: it is busy.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::Method;
use tokio::sync::Semaphore;

use crate::{
    model::Protocol,
    runtime::{Endpoint, Snapshot},
    serve::Shared,
    upstream::exchange::{Connection, Exchange, Sending},
};

/// Checks at the same time.
const CONCURRENT: usize = 64;
/// Healthy endpoints, and as many ill ones, that are checked in one round; with more, they take turns. A cluster that
/// was cut off must not hold up the checks of the others.
const MOST: usize = 64;
/// Shortest time between two rounds, however many requests fail.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// Silences in a row that make an endpoint unhealthy.
const FALL: u32 = 2;
/// Answers in a row that make it healthy again; the ramp guards against believing one too early.
const RISE: u32 = 1;

/// Times of health checks.
#[derive(Debug, Clone)]
pub struct Times {
    /// Between rounds.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
}

/// Checks until the process stops.
pub async fn run(shared: Arc<Shared>, times: Times) {
    let permits = Arc::new(Semaphore::new(CONCURRENT));
    let mut turn = 0usize;
    loop {
        let hurried = tokio::select! {
            () = tokio::time::sleep(times.interval) => false,
            () = shared.probe_now.notified() => true,
        };
        let snapshot = shared.snapshot.load_full();
        let due = due(&snapshot, &shared, &times, hurried, &mut turn);
        let mut checks = tokio::task::JoinSet::new();
        for (endpoint, path) in due {
            let (shared, permits, limit) = (Arc::clone(&shared), Arc::clone(&permits), times.timeout);
            checks.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                let began_ms = shared.clock.now_ms();
                let outcome = check(&shared, &endpoint, path.as_deref(), limit).await;
                note(&shared, &endpoint, outcome, began_ms);
            });
        }
        let round = async { while checks.join_next().await.is_some() {} };
        let ((), ()) = tokio::join!(round, tokio::time::sleep(LEAST_PAUSE));
    }
}

/// Which endpoints are checked now, and on which path.
fn due(
    snapshot: &Snapshot,
    shared: &Shared,
    times: &Times,
    hurried: bool,
    turn: &mut usize,
) -> Vec<(Arc<Endpoint>, Option<String>)> {
    let quiet_since = shared.clock.now_ms().saturating_sub(times.interval.as_millis() as u64);
    let (mut healthy, mut ill) = (Vec::new(), Vec::new());
    for backend in &snapshot.backends {
        for endpoint in backend.members.iter().flatten().flat_map(|member| &member.endpoints) {
            let answers = endpoint.answered_at_ms() > quiet_since && !hurried;
            let check = (Arc::clone(endpoint), backend.settings.health_check_path.clone());
            match endpoint.is_healthy() {
                true if answers => {}
                true => healthy.push(check),
                false => ill.push(check),
            }
        }
    }
    *turn = turn.wrapping_add(MOST);
    for checks in [&mut healthy, &mut ill] {
        if checks.len() > MOST {
            let start = *turn % checks.len();
            checks.rotate_left(start);
            checks.truncate(MOST);
        }
    }
    ill.extend(healthy);
    ill
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Works,
    /// It says itself that it does not work, or nobody listens.
    Refuses,
    /// No answer in time.
    Silent,
}

async fn check(shared: &Shared, endpoint: &Endpoint, path: Option<&str>, limit: Duration) -> Outcome {
    let stream = match shared.connector.stream(endpoint, limit).await {
        Ok(stream) => stream,
        Err(error) if error.is_silence() => return Outcome::Silent,
        Err(_) => return Outcome::Refuses,
    };
    if endpoint.identity.protocol == Protocol::H2c {
        return Outcome::Works;
    }
    let mut exchange = Exchange::begin(Connection::new(stream), Method::GET, None, Sending::Plain, |head| {
        let target = path.unwrap_or("/");
        head.extend_from_slice(
            format!(
                "GET {target} HTTP/1.1\r\nhost: {}\r\nuser-agent: kubefed-lb/health\r\nconnection: close\r\n\r\n",
                endpoint.shown
            )
            .as_bytes(),
        );
    });
    match tokio::time::timeout(limit, poll_fn(|cx| exchange.poll_head(cx))).await {
        Ok(Ok(head)) => {
            let status = head.status.as_u16();
            let works = if path.is_some() {
                status < 400
            } else {
                !(502..=504).contains(&status)
            };
            if works { Outcome::Works } else { Outcome::Refuses }
        }
        Ok(Err(_)) => Outcome::Refuses,
        Err(_) => Outcome::Silent,
    }
}

fn note(shared: &Shared, endpoint: &Endpoint, outcome: Outcome, began_ms: u64) {
    let now_ms = shared.clock.now_ms();
    let silent = outcome == Outcome::Silent && endpoint.answered_at_ms() <= began_ms;
    if !silent {
        endpoint.heard();
    } else if endpoint.silent(now_ms) {
        shared.suspect();
    }
    let works = outcome != Outcome::Refuses && !silent;
    let fall = if silent { FALL } else { 1 };
    if let Some(healthy) = endpoint.probed(works, now_ms, RISE, fall) {
        tracing::info!(endpoint = %endpoint.shown, cluster = %endpoint.cluster, backend = %endpoint.identity.backend, healthy, "endpoint's health changed");
        shared.replan.notify_one();
        if !healthy {
            // What killed one of a cluster's endpoints has often killed all.
            shared.suspect();
        }
    }
}
