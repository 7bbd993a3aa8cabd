//! Leader election by a Lease, so that of several controller managers one acts.
//!
//! A holder that cannot renew for [`RENEW_DEADLINE`] stops before another may take over after
//! [`LEASE_DURATION`]. Expiry is judged by how long *we* have seen the record unchanged, so that clocks of
//! different machines need not agree.

use std::time::Duration;

use apimachinery::Object;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::{Error, Key, Rest, resources::LEASES};

/// How long a lease is good for without renewal, as kube-controller-manager.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long the holder tries to renew before it stops acting.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between renewals, and between attempts of those who wait.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Who wants which lease.
#[derive(Debug, Clone)]
pub struct Election {
    /// The API server that keeps the lease.
    pub rest: Rest,
    /// Namespace and name of the Lease.
    pub lease: Key,
    /// Who we are; the same identity takes its own lease again at once.
    pub identity: String,
}

/// What was last seen of the lease, and since when it is unchanged.
#[derive(Debug)]
struct Observed {
    record: Object,
    since: Instant,
}

/// Whether a lease may be taken.
fn may_take(spec: &Object, identity: &str, unchanged_for: Duration) -> bool {
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return true;
    }
    let duration = spec["leaseDurationSeconds"]
        .as_u64()
        .map_or(LEASE_DURATION, Duration::from_secs);
    unchanged_for >= duration
}

fn micro_time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The spec after `identity` takes or renews the lease.
fn taken(spec: &Object, identity: &str, now: Timestamp) -> Object {
    let mine = spec["holderIdentity"] == identity;
    let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0);
    let acquired = if mine {
        spec["acquireTime"].clone()
    } else {
        json!(micro_time(now))
    };
    json!({
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_DURATION.as_secs(),
        "acquireTime": acquired,
        "renewTime": micro_time(now),
        "leaseTransitions": if mine { transitions } else { transitions + 1 },
    })
}

impl Election {
    /// Waits until the lease is ours.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a lease taken in that moment expires.
    pub async fn acquire(&self) {
        let mut observed = None;
        loop {
            match self.attempt(&mut observed).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = %self.lease, error = %crate::error::chain(&error), "cannot take the lease");
                }
            }
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews the lease, and returns when it is lost.
    ///
    /// # Cancel safety
    /// May be dropped at any time; the lease expires then, or is [released](Self::release).
    pub async fn hold(&self) {
        let mut observed = None;
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_DEADLINE {
            tokio::time::sleep(RETRY_PERIOD).await;
            match tokio::time::timeout(RENEW_DEADLINE, self.attempt(&mut observed)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    async fn attempt(&self, observed: &mut Option<Observed>) -> Result<bool, Error> {
        let Some(mut lease) = self.rest.find(&LEASES, &self.lease).await? else {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.lease.name(), "namespace": self.lease.namespace()},
                "spec": taken(&Object::Null, &self.identity, Timestamp::now()),
            });
            return match self.rest.create(&LEASES, self.lease.namespace(), &lease).await {
                Ok(_) => Ok(true),
                Err(error) if error.is_conflict() => Ok(false),
                Err(error) => Err(error),
            };
        };
        let spec = lease["spec"].take();
        let since = match observed {
            Some(seen) if seen.record == spec => seen.since,
            Some(_) | None => {
                let since = Instant::now();
                *observed = Some(Observed {
                    record: spec.clone(),
                    since,
                });
                since
            }
        };
        if !may_take(&spec, &self.identity, since.elapsed()) {
            return Ok(false);
        }
        lease["spec"] = taken(&spec, &self.identity, Timestamp::now());
        match self.rest.update(&LEASES, &self.lease, "", &lease).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lease up, so that another may take it at once.
    pub async fn release(&self) {
        let Ok(mut lease) = self.rest.get(&LEASES, &self.lease).await else {
            return;
        };
        if lease["spec"]["holderIdentity"] != self.identity.as_str() {
            return;
        }
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        if let Err(error) = self.rest.update(&LEASES, &self.lease, "", &lease).await {
            tracing::debug!(error = %crate::error::chain(&error), "cannot release the lease; it expires");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_ours_or_expired() {
        let held = json!({"holderIdentity": "a", "leaseDurationSeconds": 15});
        assert!(!may_take(&held, "b", Duration::from_secs(14)));
        assert!(may_take(&held, "b", Duration::from_secs(15)));
        assert!(may_take(&held, "a", Duration::ZERO));
        assert!(may_take(&json!({"holderIdentity": ""}), "b", Duration::ZERO));
        assert!(may_take(&Object::Null, "b", Duration::ZERO));
    }

    #[test]
    fn renewing_keeps_the_time_of_acquisition_and_taking_over_counts_a_transition() {
        let first = Timestamp::from_second(1_000).expect("valid");
        let later = Timestamp::from_second(2_000).expect("valid");
        let a = taken(&Object::Null, "a", first);
        let renewed = taken(&a, "a", later);
        assert_eq!(renewed["acquireTime"], "1970-01-01T00:16:40.000000Z");
        assert_eq!(renewed["leaseTransitions"], a["leaseTransitions"]);
        let b = taken(&renewed, "b", later);
        assert_eq!(b["acquireTime"], "1970-01-01T00:33:20.000000Z");
        assert_eq!(b["leaseTransitions"], 2);
    }
}
