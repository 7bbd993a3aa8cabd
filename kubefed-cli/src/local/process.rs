//! Processes that outlive this one, known by pid and start time, so that a pid that was given to another program
//! in the meantime is never signalled.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A process that was started here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    /// What it is, for messages: `minicluster`, `etcd`…
    pub(crate) role: String,
    /// Its id.
    pub(crate) pid: i32,
    /// Kernel clock ticks after boot at which it started.
    pub(crate) started: u64,
}

/// Field 22 of `/proc/PID/stat`, and whether the process is a zombie.
fn start_time(pid: i32) -> Option<(u64, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Some((fields.get(19)?.parse().ok()?, fields.first() == Some(&"Z")))
}

impl Process {
    /// Starts a command in a session of its own, its output in a log file.
    pub(crate) fn spawn(role: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        if let Some(directory) = log.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file
            .try_clone()
            .with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C in this terminal is for this process to act on.
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let pid = i32::try_from(child.id()).context("pid out of range")?;
        let started = start_time(pid)
            .with_context(|| format!("{program} ended at once: see {}", log.display()))?
            .0;
        // Reaps the child if it ends while this process still runs.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        Ok(Self {
            role: role.to_owned(),
            pid,
            started,
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|(started, zombie)| started == self.started && !zombie)
    }

    /// Sends a signal, if it is still this process.
    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
    fn signal(&self, signal: i32) {
        if self.is_alive() {
            // SAFETY: kill takes two integers and touches no memory of ours.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// Kills it without warning.
    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Asks it to stop and waits; kills it if it does not within `grace`.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.signal(libc::SIGTERM);
        if !self.gone_within(grace).await {
            self.kill();
            self.gone_within(Duration::from_secs(5)).await;
        }
    }

    async fn gone_within(&self, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while self.is_alive() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_started_process_is_known_until_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn("sleeper", command, &dir.path().join("log")).unwrap();
        assert!(process.is_alive());
        process.stop(Duration::from_secs(5)).await;
        assert!(!process.is_alive());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_ours() {
        let own = i32::try_from(std::process::id()).unwrap();
        let imposter = Process {
            role: "x".into(),
            pid: own,
            started: 1,
        };
        assert!(!imposter.is_alive());
    }
}
