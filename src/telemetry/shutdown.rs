//! Clean shutdown: the first signal asks, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal, as Kubernetes processes do.
const INSISTED: i32 = 1;

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
/// Must be called within a tokio runtime.
pub fn shutdown_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (mut terminate, mut interrupt) = match (terminate, interrupt) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot listen for signals: only a kill will stop"
            );
            return token;
        }
    };
    let asked = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = next().await;
        tracing::info!(signal, "shutting down");
        asked.cancel();
        let signal = next().await;
        tracing::warn!(signal, "stopping at once");
        std::process::exit(INSISTED);
    });
    token
}
