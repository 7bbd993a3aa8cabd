//! The table.

use std::time::Duration;

use crate::{Options, load::Results};

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

/// The value below which a share of the sorted times lies.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or_default()
}

/// Prints what was measured beside what is asked for.
pub(crate) fn print(options: &Options, results: &Results) {
    println!(
        "{} clusters, {} objects of which each goes to {}: {} copies",
        options.clusters,
        options.objects,
        options.copies(),
        results.copies
    );
    println!("{:<58} {:>12}   goal", "measured", "value");
    for (what, value, goal) in rows(options, results) {
        println!("{what:<58} {value:>12}   {goal}");
    }
}

fn rows(options: &Options, results: &Results) -> Vec<(String, String, &'static str)> {
    let took = |percent| seconds(percentile(&results.propagation, percent));
    let both = |(apiserver, manager): (u64, u64)| megabytes(apiserver + manager);
    let grown = results.full.1.saturating_sub(results.empty.1);
    let copies = u64::try_from(results.copies.max(1)).unwrap_or(u64::MAX);
    let (first, second) = results.cores;
    let row = |what: &str, value: String, goal| (what.to_owned(), value, goal);
    vec![
        row(
            "first objects, until the last copy has arrived",
            seconds(results.fill),
            "",
        ),
        row(
            "  copies per second",
            format!(
                "{:.0}",
                (results.filled * options.copies()) as f64 / results.fill.as_secs_f64()
            ),
            "",
        ),
        row(&format!("propagation at {} objects/s, p50", options.rate), took(50), ""),
        row("  p90", took(90), ""),
        row("  p99", took(99), "1.3 s"),
        row("  slowest", took(100), ""),
        row(
            "  CPU of API server and controller manager, cores",
            format!("{first:.2} + {second:.2}"),
            "",
        ),
        row("memory of the control plane without objects", both(results.empty), ""),
        row("  with all objects", both(results.full), "1024 MB"),
        row("  of it the API server", megabytes(results.full.0), ""),
        row("  of it the controller manager", megabytes(results.full.1), ""),
        row(
            "  controller manager, per copy",
            format!("{} bytes", grown / copies),
            "2048 bytes",
        ),
        row(
            "restart, until what changed meanwhile has arrived",
            seconds(results.restart),
            "30 s",
        ),
        row(
            "  copies written, of those that had to be",
            format!("{} of {}", results.written, results.owed),
            "equal",
        ),
        row("  memory of the control plane afterwards", both(results.restarted), ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_that_so_many_do_not_exceed() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 100), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
