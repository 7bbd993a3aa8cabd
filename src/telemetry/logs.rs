//! Logs on standard error, as text or JSON lines.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    filter::{ParseError, Targets},
    fmt,
    layer::{Layer as _, SubscriberExt as _},
    util::{SubscriberInitExt as _, TryInitError},
};

/// The variable that overrides the flags, as in other Rust programs: `info,lb=debug`.
const VARIABLE: &str = "RUST_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags about logs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value_t, global = true, env = "LOG_FORMAT")]
    pub log_format: LogFormat,
    /// How much is logged: 0 what matters, 4 what helps debugging, 6 everything (RUST_LOG overrides it)
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0, global = true)]
    pub verbosity: u8,
}

/// Why logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitLogsError {
    /// `RUST_LOG` is no list of levels.
    #[error("RUST_LOG={value:?} is not like \"info\" or \"info,lb=debug\"")]
    Filter {
        /// What it says.
        value: String,
        /// The cause.
        #[source]
        source: ParseError,
    },
    /// They are set up already.
    #[error("cannot set up logs")]
    Again(#[from] TryInitError),
}

/// Sets up logging for the whole process. `RUST_LOG` has the last word on levels.
///
/// # Errors
/// If `RUST_LOG` cannot be read, or logging was set up before.
pub fn init_logs(args: &LogArgs) -> Result<(), InitLogsError> {
    let value = match std::env::var(VARIABLE) {
        Ok(value) if !value.is_empty() => value,
        _ => directives(args.verbosity).to_owned(),
    };
    let filter: Targets = value
        .parse()
        .map_err(|source| InitLogsError::Filter { value, source })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?)
}

/// Libraries stay one level quieter than our own code, else a debug log is mostly HTTP frames.
fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        0..=3 => "info,kube=warn,h2=warn,hyper=warn,rustls=warn,tower=warn",
        4..=5 => {
            "debug,kube=info,kube_client=info,kube_runtime=info,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info"
        }
        6.. => "trace,h2=debug,hyper=debug,hyper_util=debug,rustls=debug,tower=debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for verbosity in 0..=10 {
            directives(verbosity).parse::<Targets>().unwrap();
        }
    }
}
