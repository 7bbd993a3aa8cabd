//! Logs on standard error, as text or JSON lines.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt as _};

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

/// Logs are set up already.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up logs")]
pub struct InitLogsError(#[from] tracing_subscriber::util::TryInitError);

/// Sets up logging for the whole process. `RUST_LOG` has the last word on levels.
///
/// # Errors
/// If logging was set up before.
pub fn init_logs(args: &LogArgs) -> Result<(), InitLogsError> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(directives(args.verbosity)),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
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
            directives(verbosity).parse::<EnvFilter>().unwrap();
        }
    }
}
