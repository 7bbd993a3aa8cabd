//! What can go wrong between us and an API server.

use std::time::Duration;

use apimachinery::status::Status;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer within the time allowed.
    #[error("no answer to {method} {path} within {timeout:?}")]
    Timeout {
        /// HTTP method.
        method: http::Method,
        /// Path and query.
        path: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// The connection failed: refused, reset, TLS.
    #[error("cannot {method} {path}")]
    Transport {
        /// HTTP method.
        method: http::Method,
        /// Path and query.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Status(Box<Status>),
    /// The server's answer is not what it should be.
    #[error("cannot decode the answer to {method} {path}")]
    Decode {
        /// HTTP method.
        method: http::Method,
        /// Path and query.
        path: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The request could not be built.
    #[error("cannot build the request {path}")]
    Request {
        /// Path and query.
        path: String,
        /// The cause.
        #[source]
        source: http::Error,
    },
    /// The circuit breaker is open: the server failed too often just now.
    #[error("not asking {server} for {wait:?}: it failed {failures} times in a row")]
    BreakerOpen {
        /// Name of the server.
        server: String,
        /// When to try again.
        wait: Duration,
        /// Failures that opened it.
        failures: u32,
    },
}

impl Error {
    /// The HTTP status the server answered with, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Decode { .. }
            | Self::Request { .. }
            | Self::BreakerOpen { .. } => None,
        }
    }

    /// The reason in the server's Status; empty if it did not answer.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Status(status) => &status.reason,
            Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Decode { .. }
            | Self::Request { .. }
            | Self::BreakerOpen { .. } => "",
        }
    }

    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the server refused because the object changed, exists already or has another uid.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether a watch or a list must start over.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether the server could not be asked at all (as opposed to having refused).
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Transport { .. } | Self::BreakerOpen { .. }
        )
    }

    /// When the server (or the breaker) wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status
                .details
                .as_ref()
                .filter(|d| d.retry_after_seconds > 0)
                .map(|d| Duration::from_secs(u64::from(d.retry_after_seconds))),
            Self::BreakerOpen { wait, .. } => Some(*wait),
            Self::Timeout { .. } | Self::Transport { .. } | Self::Decode { .. } | Self::Request { .. } => None,
        }
    }
}

/// An error and its causes on one line, outermost first.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let level = error.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&level) {
            text.push_str(": ");
            text.push_str(&level);
        }
        cause = error.source();
    }
    text
}
