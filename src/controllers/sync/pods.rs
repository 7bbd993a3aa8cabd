//! Counting pods that wait for a place, so that a cluster without room gives its replicas to others.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, time};
use client::{Error, Key, Rest, resources::PODS};
use jiff::Timestamp;
use tokio::time::Instant;

const PAGE: usize = 500;

/// Reads the pods that a query selects, a page at a time.
pub(super) async fn each_page(
    rest: &Rest,
    namespace: Option<&str>,
    query: &str,
    mut read: impl FnMut(&[Object]) + Send,
) -> Result<(), Error> {
    let mut next = String::new();
    loop {
        let mut query = format!("{query}&limit={PAGE}");
        if !next.is_empty() {
            query.push_str("&continue=");
            query.push_str(&client::rest::escape(&next));
        }
        let page = rest.list(&PODS, namespace, &query).await?;
        read(page["items"].as_array().map(Vec::as_slice).unwrap_or_default());
        next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            return Ok(());
        }
    }
}

/// Pods of a workload in a cluster that do not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// All of them.
    pub waiting: i64,
    /// Those that have been unschedulable for so long that they had better go elsewhere.
    pub stuck: i64,
    /// What the cluster's scheduler says of one of those.
    pub why: Option<Arc<str>>,
    /// When the next one will have been.
    pub next_stuck: Option<Duration>,
    /// When they were counted.
    pub counted: Instant,
    /// How many replicas there were to be, and how many of them were ready.
    pub short: (i64, i64),
    /// Since when that is so.
    pub short_since: Instant,
}

impl Pending {
    fn nothing(short: (i64, i64)) -> Self {
        Self {
            waiting: 0,
            stuck: 0,
            why: None,
            next_stuck: None,
            counted: Instant::now(),
            short,
            short_since: Instant::now(),
        }
    }

    /// Replicas that will not become ready, as far as anybody can tell: all that are not, once none has for long.
    #[must_use]
    pub fn hopeless(&self, patience: Duration) -> i64 {
        let (replicas, ready) = self.short;
        if self.short_since.elapsed() >= patience {
            (replicas - ready).max(0)
        } else {
            self.stuck
        }
    }

    /// Takes over since when things are as they are from the count before.
    pub(super) fn after(self, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.short == self.short);
        Self {
            short_since: same.map_or(self.short_since, |before| before.short_since),
            ..self
        }
    }
}

/// Since when a pod has been unschedulable, and why.
fn unschedulable(pod: &Object) -> Option<(Timestamp, &str)> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let scheduled = conditions.iter().find(|c| c["type"] == "PodScheduled")?;
    if scheduled["status"] != "False" || scheduled["reason"] != "Unschedulable" {
        return None;
    }
    let since = time::parse(scheduled["lastTransitionTime"].as_str()?)?;
    Some((since, scheduled["message"].as_str().unwrap_or_default()))
}

fn count(pods: &[Object], now: Timestamp, patience: Duration, sum: &mut Pending) {
    for pod in pods {
        if apimachinery::meta::is_being_deleted(pod) {
            continue;
        }
        sum.waiting += 1;
        if let Some((since, why)) = unschedulable(pod) {
            let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            if waited > patience {
                sum.stuck += 1;
                if !why.is_empty() && sum.why.is_none() {
                    sum.why = Some(why.into());
                }
            } else {
                // One second more than needed: the time of transition has seconds only.
                let rest = patience.saturating_sub(waited) + Duration::from_secs(1);
                sum.next_stuck = Some(sum.next_stuck.map_or(rest, |earlier| earlier.min(rest)));
            }
        }
    }
}

/// Counts the pending pods of a copy that has `short.1` of `short.0` replicas ready. `patience`: how long a pod may be
/// unschedulable before it is stuck.
///
/// # Errors
/// If the member cannot be asked.
pub async fn pending(
    rest: &Rest,
    key: &Key,
    selector: &str,
    short: (i64, i64),
    patience: Duration,
) -> Result<Pending, Error> {
    let mut sum = Pending::nothing(short);
    let query = format!(
        "fieldSelector=status.phase%3DPending&labelSelector={}",
        client::rest::escape(selector)
    );
    each_page(rest, key.namespace(), &query, |pods| {
        count(pods, Timestamp::now(), patience, &mut sum)
    })
    .await?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn replicas_are_given_up_when_none_has_become_ready_for_long() {
        let patience = Duration::from_secs(60);
        let first = Pending::nothing((5, 2));
        tokio::time::advance(Duration::from_secs(40)).await;
        let second = Pending::nothing((5, 2)).after(Some(&first));
        assert_eq!(second.hopeless(patience), 0);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(second.hopeless(patience), 3);
        let third = Pending::nothing((5, 3)).after(Some(&second));
        assert_eq!(third.hopeless(patience), 0, "one more is ready: the others may follow");
    }

    #[tokio::test(start_paused = true)]
    async fn only_pods_unschedulable_for_long_are_stuck() {
        let pod = |since: &str, reason: &str| {
            json!({"metadata": {}, "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": reason,
                 "message": "3 Insufficient cpu", "lastTransitionTime": since}]}})
        };
        let pods = [
            pod("1970-01-01T00:00:00Z", "Unschedulable"),
            pod("1970-01-01T00:01:30Z", "Unschedulable"),
            pod("1970-01-01T00:00:00Z", "SchedulingGated"),
            json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}),
            json!({"metadata": {}, "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}),
        ];
        let mut sum = Pending::nothing((5, 0));
        let now = Timestamp::from_second(100).expect("valid");
        count(&pods, now, Duration::from_secs(60), &mut sum);
        assert_eq!((sum.waiting, sum.stuck), (4, 1));
        assert_eq!(sum.why.as_deref(), Some("3 Insufficient cpu"));
        assert_eq!(sum.next_stuck, Some(Duration::from_secs(51)));
    }
}
