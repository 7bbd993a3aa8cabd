//! `kubectl logs`: the lines of a container, from the past and, if asked for, as they come.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use crate::{
    informer::Key,
    node::{
        agent::Agent,
        logs::{Line, Log},
    },
};

/// Which lines are asked for.
#[derive(Debug, Default, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    follow: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
}

fn is_set(flag: &Option<String>) -> bool {
    flag.as_deref().is_some_and(|flag| matches!(flag, "true" | "1" | ""))
}

/// The lines to send, rendered.
fn render(lines: &[Line], options: &Options, now: Timestamp) -> String {
    let by_seconds = options
        .since_seconds
        .and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    let since = options.since_time.or(by_seconds);
    let recent: Vec<&Line> = lines
        .iter()
        .filter(|line| since.is_none_or(|since| line.at >= since))
        .collect();
    let skip = options.tail_lines.map_or(0, |tail| recent.len().saturating_sub(tail));
    let mut text = String::new();
    for line in &recent[skip..] {
        if is_set(&options.timestamps) {
            text.push_str(&format!("{} ", line.at));
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    if let Some(limit) = options.limit_bytes
        && text.len() > limit
    {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Answers with the log of a container.
pub(super) async fn container_logs(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(options): Query<Options>,
) -> Response {
    let Some(log) = agent.log(&Key::new(Some(&namespace), &pod), &container) else {
        return (
            StatusCode::NOT_FOUND,
            format!("container \"{container}\" in pod \"{pod}\" is not running here"),
        )
            .into_response();
    };
    let (lines, cursor) = log.read(0).await;
    let text = render(&lines, &options, Timestamp::now());
    if !is_set(&options.follow) {
        return text.into_response();
    }
    let first = stream::once(async move { Bytes::from(text) });
    let later = stream::unfold((log.changes(), log, cursor), move |(mut changes, log, cursor)| {
        let timestamps = options.timestamps.clone();
        async move {
            let (lines, cursor) = next_lines(&mut changes, &log, cursor).await?;
            let options = Options {
                timestamps,
                ..Options::default()
            };
            Some((
                Bytes::from(render(&lines, &options, Timestamp::now())),
                (changes, log, cursor),
            ))
        }
    });
    Body::from_stream(first.chain(later).map(Ok::<_, std::convert::Infallible>)).into_response()
}

/// Waits for lines after a cursor; `None` at the end of a closed log.
async fn next_lines(
    changes: &mut tokio::sync::watch::Receiver<()>,
    log: &Arc<Log>,
    cursor: u64,
) -> Option<(Vec<Line>, u64)> {
    loop {
        let is_closed = log.is_closed();
        let (lines, next) = log.read(cursor).await;
        if !lines.is_empty() {
            return Some((lines, next));
        }
        if is_closed {
            return None;
        }
        changes.changed().await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_lines() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let line = |second: i64, text: &str| Line {
            at: now - SignedDuration::from_secs(60 - second),
            text: text.into(),
        };
        let lines = [line(0, "one"), line(30, "two"), line(59, "three")];
        let asked = |options: Options| render(&lines, &options, now);
        assert_eq!(asked(Options::default()), "one\ntwo\nthree\n");
        assert_eq!(
            asked(Options {
                tail_lines: Some(1),
                ..Options::default()
            }),
            "three\n"
        );
        assert_eq!(
            asked(Options {
                since_seconds: Some(30),
                ..Options::default()
            }),
            "two\nthree\n"
        );
        assert_eq!(
            asked(Options {
                limit_bytes: Some(5),
                ..Options::default()
            }),
            "one\nt"
        );
        let timestamps = Some("true".to_owned());
        assert_eq!(
            asked(Options {
                timestamps,
                tail_lines: Some(1),
                ..Options::default()
            }),
            "2026-01-01T00:00:59Z three\n"
        );
    }
}
