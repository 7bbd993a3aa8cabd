//! How a container that is no server ends: a pure reading of its command.
//!
//! Images are not run, so a pod that is to complete (restartPolicy Never or OnFailure) completes
//! after a second, or as annotated, or as a plain `sleep`, `true`, `false` or `exit` command says.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

/// Annotation: seconds that the containers of a completing pod run.
pub(crate) const RUN_SECONDS: &str = "minicluster.kubefed.io/run-seconds";
/// Annotation: exit code of the containers of a completing pod.
pub(crate) const EXIT_CODE: &str = "minicluster.kubefed.io/exit-code";
/// How long a container runs whose command says nothing.
const DEFAULT_RUN: Duration = Duration::from_secs(1);

/// The end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How long after its start.
    pub(crate) after: Duration,
    /// With which exit code.
    pub(crate) exit_code: i32,
}

/// How the container will end; `None` if it runs until it is stopped.
pub(crate) fn of(pod: &Pod, container: &Container) -> Option<Outcome> {
    let policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always");
    if policy == "Always" {
        return None;
    }
    let annotation = |key: &str| pod.metadata.annotations.as_ref().and_then(|all| all.get(key));
    let words: Vec<&str> = container
        .command
        .iter()
        .chain(&container.args)
        .flatten()
        .map(String::as_str)
        .collect();
    let spoken = command(&words);
    let mut outcome = match spoken {
        Some(End::Never) => return None,
        Some(End::Exits(outcome)) => outcome,
        None => Outcome {
            after: DEFAULT_RUN,
            exit_code: 0,
        },
    };
    if let Some(seconds) = annotation(RUN_SECONDS).and_then(|text| text.parse::<f64>().ok()) {
        outcome.after = Duration::try_from_secs_f64(seconds).unwrap_or(DEFAULT_RUN);
    }
    if let Some(code) = annotation(EXIT_CODE).and_then(|text| text.parse().ok()) {
        outcome.exit_code = code;
    }
    Some(outcome)
}

#[derive(Debug, PartialEq)]
enum End {
    Never,
    Exits(Outcome),
}

fn command(words: &[&str]) -> Option<End> {
    let (program, rest) = words.split_first()?;
    match (program.rsplit('/').next().unwrap_or(program), rest) {
        ("sh" | "bash" | "ash", ["-c" | "-ec" | "-ce", script, ..]) => self::script(script),
        ("true", _) => Some(End::Exits(Outcome {
            after: Duration::ZERO,
            exit_code: 0,
        })),
        ("false", _) => Some(End::Exits(Outcome {
            after: Duration::ZERO,
            exit_code: 1,
        })),
        ("sleep", [time, ..]) => sleep(time),
        ("exit", []) => Some(End::Exits(Outcome {
            after: Duration::ZERO,
            exit_code: 0,
        })),
        ("exit", [code, ..]) => Some(End::Exits(Outcome {
            after: Duration::ZERO,
            exit_code: code.parse().ok()?,
        })),
        _ => None,
    }
}

fn sleep(time: &str) -> Option<End> {
    let seconds = match time {
        "infinity" | "inf" => return Some(End::Never),
        time if time.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            let (number, unit) = time.split_at(time.len() - 1);
            let factor = match unit {
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
            number.parse::<f64>().ok()? * factor
        }
        time => time.parse().ok()?,
    };
    Some(End::Exits(Outcome {
        after: Duration::try_from_secs_f64(seconds).ok()?,
        exit_code: 0,
    }))
}

/// The sum of the sleeps and the last exit code; commands that are not known take no time and succeed.
fn script(text: &str) -> Option<End> {
    let mut total = Outcome {
        after: Duration::ZERO,
        exit_code: 0,
    };
    let mut known = false;
    for line in text.split(['\n', ';']).flat_map(|line| line.split("&&")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match command(&words) {
            Some(End::Never) => return Some(End::Never),
            Some(End::Exits(outcome)) => {
                known = true;
                total.after += outcome.after;
                total.exit_code = outcome.exit_code;
                if words.first() == Some(&"exit") {
                    break;
                }
            }
            None if !words.is_empty() => total.exit_code = 0,
            None => {}
        }
    }
    known.then_some(End::Exits(total))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn end(policy: &str, command: &[&str], annotations: serde_json::Value) -> Option<(f64, i32)> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": policy, "containers": [{"name": "a", "command": command}]},
        }))
        .unwrap();
        of(&pod, &pod.spec.as_ref().unwrap().containers[0])
            .map(|outcome| (outcome.after.as_secs_f64(), outcome.exit_code))
    }

    #[test]
    fn commands_say_how_long_and_with_which_code() {
        let cases = [
            (vec![], Some((1.0, 0))),
            (vec!["perl", "-e", "1"], Some((1.0, 0))),
            (vec!["sleep", "5"], Some((5.0, 0))),
            (vec!["/bin/sleep", "2m"], Some((120.0, 0))),
            (vec!["sleep", "infinity"], None),
            (vec!["false"], Some((0.0, 1))),
            (vec!["sh", "-c", "echo hi; sleep 2 && exit 3"], Some((2.0, 3))),
            (vec!["/bin/sh", "-c", "false\ntrue"], Some((0.0, 0))),
            (vec!["sh", "-c", "exit 1; sleep 9"], Some((0.0, 1))),
            (vec!["sh", "-c", "date; echo Hello"], Some((1.0, 0))),
        ];
        for (command, expected) in cases {
            assert_eq!(end("Never", &command, json!({})), expected, "{command:?}");
        }
    }

    #[test]
    fn servers_never_end_and_annotations_win() {
        assert_eq!(end("Always", &["sleep", "1"], json!({})), None);
        assert_eq!(
            end(
                "OnFailure",
                &["sleep", "9"],
                json!({RUN_SECONDS: "0.5", EXIT_CODE: "2"})
            ),
            Some((0.5, 2))
        );
    }
}
