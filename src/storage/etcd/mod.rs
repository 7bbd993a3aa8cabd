//! etcd as a store, as kube-apiserver uses it: transactions on the mod revision, leases for what expires, watches
//! with progress marks.
//!
//! The store's revision is etcd's. A watch ends with its connection; whoever watches opens it again from the last
//! revision (the watch cache does). Every server compacts what is older than the interval by its own clock, so
//! several servers on one etcd need no agreement.

mod client;
mod lease;
mod watch;
mod wire;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tonic::{Code, Status};

use crate::{Error, KeyValue, ListOptions, MAX_VALUE_BYTES, Page, Revision, Storage, WatchStream};
use client::Client;
pub use client::{ConnectError, Options};
use lease::Leases;
use watch::Watches;
use wire::{Compare, DeleteRequest, PutRequest, RangeRequest, Request, Response, TxnRequest, TxnResponse};

const TXN: &str = "/etcdserverpb.KV/Txn";
/// Longest time for a health check, which must answer before a probe gives up.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

struct Etcd {
    client: Client,
    leases: Leases,
    watches: Watches,
}

/// Connects to etcd. Connections are made on first use, and again whenever they break.
/// Must be called within a tokio runtime.
///
/// # Errors
/// If URLs or TLS files are unusable.
pub fn connect(options: &Options) -> Result<Arc<dyn Storage>, ConnectError> {
    let client = Client::new(options)?;
    let etcd = Arc::new(Etcd {
        client,
        leases: Leases::default(),
        watches: Watches::default(),
    });
    if !options.compaction_interval.is_zero() {
        tokio::spawn(compact_regularly(Arc::downgrade(&etcd), options.compaction_interval));
    }
    Ok(etcd)
}

async fn compact_regularly(etcd: Weak<Etcd>, interval: Duration) {
    let mut horizon: Option<Revision> = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(etcd) = etcd.upgrade() else { return };
        if let Some(revision) = horizon
            && let Err(error) = etcd.compact(revision).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot compact etcd");
        }
        horizon = etcd.revision().await.ok();
    }
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn revision(signed: i64) -> Revision {
    Revision(u64::try_from(signed).unwrap_or(0))
}

fn header(header: Option<wire::Header>) -> Revision {
    revision(header.map_or(0, |header| header.revision))
}

fn key_value(stored: wire::KeyValue) -> KeyValue {
    KeyValue {
        key: String::from_utf8_lossy(&stored.key).into(),
        value: stored.value,
        created: revision(stored.create_revision),
        modified: revision(stored.mod_revision),
    }
}

/// The first key behind all keys with a prefix.
fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    // Everything.
    vec![0]
}

impl Etcd {
    /// A write under the condition that the key is at a revision (0: absent). `create` tells apart what its failure means.
    async fn txn(&self, key: &str, expected: Revision, success: Vec<Request>) -> Result<TxnResponse, Error> {
        let request = TxnRequest {
            compare: vec![Compare::mod_revision_is(key, signed(expected))],
            success: success.into_iter().map(Into::into).collect(),
            failure: vec![
                Request::Range(RangeRequest {
                    key: key.into(),
                    ..RangeRequest::default()
                })
                .into(),
            ],
        };
        let answer: TxnResponse = self
            .client
            .write(TXN, request)
            .await
            .map_err(|status| client::error("write", expected, status))?;
        if answer.succeeded {
            return Ok(answer);
        }
        let current = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let key = key.to_owned();
        Err(match current {
            _ if expected.0 == 0 => Error::AlreadyExists { key },
            None => Error::NotFound { key },
            Some(current) => Error::Conflict {
                key,
                current: Box::new(key_value(current)),
            },
        })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<KeyValue, Error> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(Error::TooLarge {
                key: key.to_owned(),
                size: value.len(),
                limit: MAX_VALUE_BYTES,
            });
        }
        let lease = self.leases.lease(&self.client, ttl).await;
        let lease = lease.map_err(|status| client::error("grant a lease", expected, status))?;
        let put = PutRequest {
            key: key.into(),
            value: value.clone(),
            lease,
        };
        // The range sees the put before it, and tells when the key was created.
        let range = RangeRequest {
            key: key.into(),
            keys_only: true,
            ..RangeRequest::default()
        };
        let answer = self
            .txn(key, expected, vec![Request::Put(put), Request::Range(range)])
            .await?;
        let modified = header(answer.header);
        let created = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::Range(range)) => range.kvs.first().map(|kv| revision(kv.create_revision)),
            _ => None,
        });
        Ok(KeyValue {
            key: key.into(),
            value,
            created: created.unwrap_or(modified),
            modified,
        })
    }

    async fn now(&self) -> Result<Revision, Status> {
        // A linearizable read of a key that cannot exist: what counts is the header.
        let request = RangeRequest {
            key: b"\0".to_vec(),
            count_only: true,
            ..RangeRequest::default()
        };
        Ok(header(self.client.range(request).await?.header))
    }
}

#[async_trait]
impl Storage for Etcd {
    async fn revision(&self) -> Result<Revision, Error> {
        self.now()
            .await
            .map_err(|status| client::error("read the revision", Revision(0), status))
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, Error> {
        let request = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        let answer = self.client.range(request).await;
        let answer = answer.map_err(|status| client::error("get", Revision(0), status))?;
        Ok(answer.kvs.into_iter().next().map(key_value))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, Error> {
        let wanted = options.at.unwrap_or_default();
        let first = match &options.after {
            // The least key behind another one is that key with a zero byte.
            Some(after) if after.as_str() >= prefix => [after.as_bytes(), b"\0"].concat(),
            _ => prefix.as_bytes().to_vec(),
        };
        let request = RangeRequest {
            key: first,
            range_end: range_end(prefix),
            limit: i64::try_from(options.limit).unwrap_or(i64::MAX),
            revision: signed(wanted),
            ..RangeRequest::default()
        };
        let answer = self.client.range(request).await;
        let answer = match answer {
            Err(status) if status.code() == Code::OutOfRange && status.message().contains("future") => {
                return Err(Error::Future {
                    wanted,
                    current: self.revision().await?,
                });
            }
            answer => answer.map_err(|status| client::error("list", wanted, status))?,
        };
        let items: Vec<_> = answer.kvs.into_iter().map(key_value).collect();
        let remaining = u64::try_from(answer.count)
            .unwrap_or(0)
            .saturating_sub(items.len() as u64);
        let revision = options.at.unwrap_or_else(|| header(answer.header));
        Ok(Page {
            revision,
            items,
            remaining,
        })
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<KeyValue, Error> {
        self.put(key, value, Revision(0), ttl).await
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        ttl: Option<Duration>,
    ) -> Result<KeyValue, Error> {
        self.put(key, value, expected, ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(KeyValue, Revision), Error> {
        let delete = Request::Delete(DeleteRequest {
            key: key.into(),
            prev_kv: true,
        });
        let answer = self.txn(key, expected, vec![delete]).await?;
        let revision = header(answer.header);
        let previous = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::Delete(deleted)) => deleted.prev_kvs.into_iter().next(),
            _ => None,
        });
        let previous = previous.ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        Ok((key_value(previous), revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
        self.watches.open(&self.client, prefix, after).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let request = wire::CompactRequest {
            revision: signed(revision),
        };
        let answer: Result<wire::CompactResponse, _> = self.client.write("/etcdserverpb.KV/Compact", request).await;
        match answer {
            // Somebody else did it, or more of it.
            Err(status) if status.code() == Code::OutOfRange && status.message().contains("compacted") => Ok(()),
            answer => answer
                .map(|_| ())
                .map_err(|status| client::error("compact", revision, status)),
        }
    }

    async fn request_progress(&self, prefix: &str) -> Result<(), Error> {
        self.watches.request_progress(prefix);
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        match tokio::time::timeout(CHECK_TIMEOUT, self.revision()).await {
            Ok(answer) => answer.map(|_| ()),
            Err(elapsed) => Err(Error::backend("reach etcd in time", elapsed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(range_end("/a/"), b"/a0");
        assert_eq!(range_end("\u{7f}"), [0x80]);
        assert_eq!(range_end(""), [0]);
    }

    #[test]
    fn unusable_options_are_refused_by_name() {
        assert!(matches!(Client::new(&Options::default()), Err(ConnectError::NoServer)));
        let options = Options {
            servers: vec!["not a url".into()],
            ..Options::default()
        };
        assert!(matches!(Client::new(&options), Err(ConnectError::Server { .. })));
        let options = Options {
            ca_file: Some("/nowhere".into()),
            ..options
        };
        assert!(matches!(Client::new(&options), Err(ConnectError::Read { .. })));
    }
}
