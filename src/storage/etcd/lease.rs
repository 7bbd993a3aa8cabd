//! Leases for keys with a time to live. Keys that live equally long share one, for etcd pays per lease.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tonic::Status;

use super::{
    client::Client,
    wire::{LeaseGrantRequest, LeaseGrantResponse},
};

/// Keys per lease at most: revoking one deletes them all in a single transaction.
const MOST_KEYS: u32 = 1000;
/// A lease is shared for this long at most; keys then live that much longer than asked for.
const LONGEST_SHARING: Duration = Duration::from_secs(60);
/// And for this fraction of the time to live.
const SHARING_FRACTION: u32 = 20;

struct Lease {
    id: i64,
    granted: Instant,
    keys: u32,
}

/// The newest lease per time to live.
#[derive(Default)]
pub(super) struct Leases {
    by_ttl: Mutex<HashMap<Duration, Lease>>,
}

impl Leases {
    /// A lease for one more key; 0 for a key that lives on.
    pub(super) async fn lease(&self, client: &Client, ttl: Option<Duration>) -> Result<i64, Status> {
        let Some(ttl) = ttl else { return Ok(0) };
        let sharing = (ttl / SHARING_FRACTION).min(LONGEST_SHARING);
        // Held while one is granted, so that a burst of events is granted one lease and not hundreds.
        let mut by_ttl = self.by_ttl.lock().await;
        if let Some(lease) = by_ttl.get_mut(&ttl)
            && lease.granted.elapsed() < sharing
            && lease.keys < MOST_KEYS
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = (ttl + sharing).as_secs_f64().ceil().max(1.0);
        let request = LeaseGrantRequest { ttl: seconds as i64 };
        let granted = Instant::now();
        let LeaseGrantResponse { id } = client.write("/etcdserverpb.Lease/LeaseGrant", request).await?;
        by_ttl.insert(ttl, Lease { id, granted, keys: 1 });
        Ok(id)
    }
}
