//! The demo's stage: runs commands, shows them and what they print, and waits for what must become true.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// Where and how the demo plays.
pub(crate) struct Stage {
    /// Directory of the local federation.
    pub(crate) dir: PathBuf,
    /// The kubectl to use.
    kubectl: PathBuf,
    started: Instant,
}

impl Stage {
    pub(crate) fn new(dir: PathBuf) -> anyhow::Result<Self> {
        let kubectl = find_on_path("kubectl").context("kubectl is not on the PATH")?;
        Ok(Self {
            dir,
            kubectl,
            started: Instant::now(),
        })
    }

    /// Announces a chapter.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n=== {title}  [{:.0} s]", self.started.elapsed().as_secs_f64());
    }

    /// A remark on what was seen.
    pub(crate) fn seen(&self, text: &str) {
        println!("    ✓ {text}");
    }

    /// Seconds since the demo began.
    pub(crate) fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Shows and runs `kubefed` (this very program).
    pub(crate) async fn kubefed(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let own = std::env::current_exe().context("cannot find this program's own path")?;
        self.show(&own, "kubefed", arguments).await
    }

    /// Shows and runs kubectl against a context.
    pub(crate) async fn kubectl(&self, context: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let context = format!("--context={context}");
        let all: Vec<&str> = std::iter::once(context.as_str())
            .chain(arguments.iter().copied())
            .collect();
        self.show(&self.kubectl, "kubectl", &all).await
    }

    /// Runs kubectl without showing it, for checks.
    pub(crate) async fn ask(&self, context: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let context = format!("--context={context}");
        let all: Vec<&str> = std::iter::once(context.as_str())
            .chain(arguments.iter().copied())
            .collect();
        self.output(&self.kubectl, &all).await
    }

    async fn show(&self, program: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        println!(
            "$ {name} {}",
            arguments.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(" ")
        );
        let output = self.output(program, arguments).await?;
        for line in output.lines() {
            println!("  {line}");
        }
        Ok(output)
    }

    async fn output(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("KUBECACHEDIR", self.dir.join("kubectl-cache"))
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{} {} failed: {}{text}",
                program.display(),
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    /// Shows and runs curl as a client of the network that `source` is in; without curl the request is made here.
    pub(crate) async fn curl(&self, source: &str, url: &str) -> anyhow::Result<String> {
        match find_on_path("curl") {
            Some(curl) => self.show(&curl, "curl", &["-sS", "--interface", source, url]).await,
            None => {
                println!("(GET {url} from {source})");
                let answer = super::client::get(source, url).await?;
                println!("{}", answer.body);
                Ok(answer.body)
            }
        }
    }

    /// Waits until `probe` says yes (its text), at most `limit`; the error says what was seen last.
    pub(crate) async fn wait<F>(&self, what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<Result<String, String>>>,
    {
        let began = Instant::now();
        loop {
            let seen = match probe().await {
                Ok(Ok(text)) => {
                    self.seen(&format!("{text} (after {:.1} s)", began.elapsed().as_secs_f64()));
                    return Ok(());
                }
                Ok(Err(text)) => text,
                Err(error) => format!("{error:#}"),
            };
            if began.elapsed() > limit {
                bail!("{what}: not within {} s; last seen: {seen}", limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn quoted(argument: &str) -> String {
    if argument
        .chars()
        .any(|c| c.is_whitespace() || "{}'\"$&|<>;*".contains(c))
    {
        format!("'{argument}'")
    } else {
        argument.to_owned()
    }
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
