//! Draining clusters that are mostly ill, with hysteresis, and never more than half of them.

use super::{Cluster, Options};

/// Per cluster: whether it is drained.
///
/// A ready cluster is a candidate below `drain_below`, and stays one until `restore_at` if it was drained before.
/// The illest candidates are drained, at most half of the clusters that are ready and have endpoints:
/// when most are ill, the health checks or the service itself are to blame.
pub fn autodrained(clusters: &[Cluster], drained_before: &[bool], options: &Options) -> Vec<bool> {
    let in_service = clusters.iter().filter(|cluster| cluster.in_service()).count();
    let mut candidates: Vec<usize> = (0..clusters.len())
        .filter(|&index| {
            let cluster = &clusters[index];
            let threshold = if drained_before.get(index) == Some(&true) {
                options.restore_at.max(options.drain_below)
            } else {
                options.drain_below
            };
            cluster.in_service() && cluster.health() < threshold
        })
        .collect();
    candidates.sort_by(|&a, &b| clusters[a].health().total_cmp(&clusters[b].health()));
    let mut drained = vec![false; clusters.len()];
    for &index in candidates.iter().take(in_service / 2) {
        drained[index] = true;
    }
    drained
}
