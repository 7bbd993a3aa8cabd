//! Informers: a reduced copy of a collection, kept current by a watch.
//!
//! # Guarantees
//! After the first list the store holds every object of the collection in its newest reported version; every
//! difference between two states of the store is reported to the handler, also those found by a relist.
//! A disconnected informer keeps what it has: nothing disappears because a server is silent.
//!
//! # Assumptions
//! resourceVersions of one collection are numbers that grow, as Kubernetes has guaranteed since 1.35;
//! where they are not, the order of arrival counts.

mod store;
mod watch;

use std::{sync::Arc, time::Duration};

use apimachinery::Object;
use tokio_util::sync::CancellationToken;

pub use store::{Change, Key, Store};

use crate::{Resource, Rest, backoff::Backoff};

/// What to watch.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The resource.
    pub resource: Resource,
    /// Only objects of this label selector; empty is all.
    pub labels: String,
    /// Only objects of this field selector; empty is all.
    pub fields: String,
    /// Only this namespace; `None` is all.
    pub namespace: Option<String>,
}

impl Scope {
    /// All objects of a resource.
    #[must_use]
    pub fn all(resource: Resource) -> Self {
        Self {
            resource,
            labels: String::new(),
            fields: String::new(),
            namespace: None,
        }
    }

    /// The objects of a resource that match a label selector.
    #[must_use]
    pub fn labelled(resource: Resource, labels: &str) -> Self {
        Self {
            labels: labels.to_owned(),
            ..Self::all(resource)
        }
    }

    /// The objects of a resource that match a field selector.
    #[must_use]
    pub fn with_fields(resource: Resource, fields: &str) -> Self {
        Self {
            fields: fields.to_owned(),
            ..Self::all(resource)
        }
    }

    fn path(&self, query: &str) -> String {
        let mut path = format!("{}?{query}", self.resource.collection(self.namespace.as_deref()));
        for (name, selector) in [("labelSelector", &self.labels), ("fieldSelector", &self.fields)] {
            if !selector.is_empty() {
                path.push_str(&format!("&{name}={}", crate::rest::escape(selector)));
            }
        }
        path
    }
}

/// A running informer. It stops when dropped.
pub struct Informer<T> {
    /// What is known.
    pub store: Arc<Store<T>>,
    stop: CancellationToken,
}

impl<T> Drop for Informer<T> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<T: Send + Sync + 'static> Informer<T> {
    /// Starts watching. `reduce` turns an object into what is kept of it (`None`: it is of no interest);
    /// `handler` hears of every change, in order, and must not block.
    pub fn start<R, H>(rest: Rest, scope: Scope, reduce: R, handler: H) -> Self
    where
        R: Fn(Object) -> Option<T> + Send + Sync + 'static,
        H: Fn(Change<'_, T>) + Send + Sync + 'static,
    {
        let store = Arc::new(Store::new());
        store.on_change(handler);
        let stop = CancellationToken::new();
        let worker = watch::Watcher {
            rest,
            scope,
            store: Arc::clone(&store),
            reduce,
            backoff: Backoff {
                base: Duration::from_millis(50),
                max: Duration::from_secs(10),
            },
        };
        let token = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = worker.run() => {}
            }
        });
        Self { store, stop }
    }
}
