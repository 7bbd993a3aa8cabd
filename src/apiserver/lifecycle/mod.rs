//! What keeps objects consistent with each other without a client asking: garbage collection by owner references,
//! emptying of terminating namespaces, and what every namespace has.
//!
//! Each is level-triggered over the store itself, so nothing is lost with the process: at start everything is looked
//! at once, then changes wake what they concern.

mod garbage;
mod namespaces;
mod owned;
mod queue;
mod service_accounts;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authn::UserInfo,
    registry::{Registry, Resource, write::Warnings, write::Write},
    request::options::WriteOptions,
};

/// Runs everything until `stop`. `ca_pem` is what pods verify the server with.
pub(crate) fn start(registry: &Arc<Registry>, ca_pem: &str, stop: &CancellationToken) -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.spawn(garbage::run(registry.clone(), stop.clone()));
    tracker.spawn(namespaces::run(registry.clone(), stop.clone()));
    tracker.spawn(service_accounts::run(registry.clone(), ca_pem.to_owned(), stop.clone()));
    tracker.close();
    tracker
}

/// A writer of the server's own.
struct Actor {
    user: UserInfo,
    options: WriteOptions,
    warnings: Warnings,
}

impl Actor {
    /// A ServiceAccount of kube-system.
    fn new(name: &str) -> Self {
        let user = UserInfo {
            username: format!("system:serviceaccount:kube-system:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                "system:serviceaccounts:kube-system".into(),
            ],
            ..UserInfo::default()
        };
        let options = WriteOptions {
            field_manager: "kube-controller-manager".into(),
            ..WriteOptions::default()
        };
        Self {
            user: user.authenticated(),
            options,
            warnings: Warnings::default(),
        }
    }

    fn write<'a>(&'a self, resource: &'a Resource, namespace: &'a str, subresource: &'a str) -> Write<'a> {
        Write {
            resource,
            subresource,
            namespace,
            options: &self.options,
            user: &self.user,
            warnings: &self.warnings,
            now: jiff::Timestamp::now(),
        }
    }
}
