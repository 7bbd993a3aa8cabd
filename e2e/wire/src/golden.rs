//! Golden files and how an answer differs from them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run::Recorded;

/// Writes a case's answers.
///
/// # Errors
/// If the file cannot be written.
pub fn write(folder: &Path, case: &str, recorded: &[Recorded]) -> Result<()> {
    let text: String = recorded
        .iter()
        .map(|one| format!("=== {}\n{}\n", one.name, one.text.trim_end()))
        .collect();
    std::fs::write(folder.join("golden").join(format!("{case}.txt")), text)
        .with_context(|| format!("cannot write the answers of {case}"))
}

/// Reads a case's answers.
///
/// # Errors
/// If the file is not there.
pub fn read(folder: &Path, case: &str) -> Result<Vec<Recorded>> {
    let text = std::fs::read_to_string(folder.join("golden").join(format!("{case}.txt")))
        .with_context(|| format!("no answers are recorded for {case}"))?;
    let blocks = text
        .strip_prefix("=== ")
        .unwrap_or_default()
        .split("\n=== ")
        .filter(|block| !block.is_empty());
    Ok(blocks
        .map(|block| {
            let (name, text) = block.split_once('\n').unwrap_or((block, ""));
            Recorded {
                name: name.to_owned(),
                text: text.trim_end().to_owned(),
            }
        })
        .collect())
}

/// A request that was answered differently.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Case and request, as `known.txt` names them.
    pub id: String,
    /// Lines that are missing (`-`) and too many (`+`), with a few around them.
    pub diff: String,
}

/// Compares a case's answers with the recorded ones.
#[must_use]
pub fn compare(case: &str, wanted: &[Recorded], got: &[Recorded]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for one in got {
        let id = format!("{case}: {}", one.name);
        let diff = match wanted.iter().find(|wanted| wanted.name == one.name) {
            None => "no answer is recorded".to_owned(),
            Some(wanted) if wanted.text.trim_end() == one.text.trim_end() => continue,
            Some(wanted) => lines(wanted.text.trim_end(), one.text.trim_end()),
        };
        differences.push(Difference { id, diff });
    }
    differences
}

/// The requests whose difference is there for a reason. Lines are `case: request`, with a leading `?`
/// if the answer depends on chance. `#` starts a comment.
///
/// # Errors
/// If the file cannot be read.
pub fn known(folder: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(folder.join("known.txt")).context("cannot read known.txt")?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect())
}

/// A line diff by longest common subsequence; answers are short.
fn lines(wanted: &str, got: &str) -> String {
    let (wanted, got) = (spread(wanted), spread(got));
    let (a, b): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), got.lines().collect());
    let mut table = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i][j] = if a[i] == b[j] {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut all: Vec<(char, &str)> = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            all.push((' ', a[i]));
            i += 1;
            j += 1;
        } else if j < b.len() && (i == a.len() || table[i][j + 1] >= table[i + 1][j]) {
            all.push(('+', b[j]));
            j += 1;
        } else {
            all.push(('-', a[i]));
            i += 1;
        }
    }
    let near = |at: usize| {
        all[at.saturating_sub(2)..(at + 3).min(all.len())]
            .iter()
            .any(|(mark, _)| *mark != ' ')
    };
    (0..all.len())
        .filter(|at| near(*at))
        .map(|at| format!("  {}{}\n", all[at].0, all[at].1))
        .collect()
}

/// Writes the JSON of a text over several lines.
fn spread(text: &str) -> String {
    let spread = |line: &str| match line
        .find('{')
        .map(|at| (at, serde_json::from_str::<serde_json::Value>(&line[at..])))
    {
        Some((at, Ok(value))) => format!("{}{value:#}\n", &line[..at]),
        _ => format!("{line}\n"),
    };
    text.lines().map(spread).collect()
}
