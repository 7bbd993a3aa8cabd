//! Progress in one line per step: what is being done, dots or a spinner while it lasts, ` done` at the end.

use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows `what` while `work` runs; a spinner on a terminal, plain lines elsewhere.
pub(crate) async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{msg}... {spinner}") {
        spinner.set_style(style);
    }
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let outcome = work.await;
    spinner.finish_and_clear();
    if outcome.is_ok() {
        println!("{what}... done");
    }
    outcome
}

/// Calls `probe` until it yields a value, as fast as is polite, for at most `limit`.
/// The error says what was waited for and what was seen last.
pub(crate) async fn wait_for<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() >= limit {
            let waited = format!("timed out after {} s waiting for {what}", limit.as_secs());
            return Err(match last {
                Some(error) => error.context(waited),
                None => anyhow::anyhow!(waited),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}
