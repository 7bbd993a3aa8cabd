//! Get and list.

use std::time::Duration;

use apimachinery::status::Status;
use storage::{KeyValue, Revision};

use super::{Registry, Resource, continuation::Token, facts::Selection};
use crate::{
    errors,
    request::options::{ListOptions, Match},
};

/// How long a request waits for a version that has not happened yet.
const FRESHNESS_WAIT: Duration = Duration::from_secs(3);
/// How many keys are read at a time when a selector may drop most of them.
const CHUNK: usize = 1000;

/// One page of a list.
pub struct ListPage {
    /// All of it is as of this revision.
    pub revision: u64,
    /// Ascending by key.
    pub items: Vec<KeyValue>,
    /// Token of the next page; empty at the end.
    pub token: String,
    /// How many items follow, where that is known.
    pub remaining: Option<u64>,
}

/// The number a resourceVersion is; 0 for none.
///
/// # Errors
/// 400 if it is no number.
pub fn parse_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        errors::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

impl Registry {
    /// One object as stored.
    ///
    /// # Errors
    /// 404 if it is not there; what storage failures are.
    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<KeyValue, Status> {
        match self.storage.get(&resource.key(namespace, name)).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(errors::not_found(resource, name)),
            Err(error) => Err(errors::of_storage(resource, name, &error)),
        }
    }

    /// Waits until a version has happened.
    ///
    /// # Errors
    /// 504 if it has not after three seconds.
    pub async fn wait_for(&self, wanted: u64) -> Result<(), Status> {
        let deadline = tokio::time::Instant::now() + FRESHNESS_WAIT;
        loop {
            let current = self.storage.revision().await.map_err(errors::internal)?;
            if current.0 >= wanted {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(errors::too_large_resource_version(wanted, current.0));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A page of a list; `namespace` empty lists all of them.
    ///
    /// # Errors
    /// 400 for bad tokens and selectors, 410 for versions no longer retained, 504 for future ones.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<ListPage, Status> {
        let start = self.start_of(options).await?;
        let mut scope = resource.scope(namespace);
        if let Some(name) = selection.name() {
            let namespace = if namespace.is_empty() {
                selection.namespace().unwrap_or_default()
            } else {
                namespace
            };
            if !resource.namespaced() || !namespace.is_empty() {
                scope = resource.key(namespace, name);
            }
        }
        let limit = if options.resource_version == "0" && options.token.is_empty() {
            0
        } else {
            options.limit
        };
        let mut page = ListPage {
            revision: 0,
            items: Vec::new(),
            token: String::new(),
            remaining: None,
        };
        let mut at = start.at;
        let mut after = start.after.map(|after| format!("{}{after}", resource.prefix));
        loop {
            let chunk = if selection.is_everything() {
                limit
            } else if limit == 0 {
                0
            } else {
                limit.max(CHUNK)
            };
            let request = storage::ListOptions {
                at: at.map(Revision),
                limit: chunk,
                after: after.clone(),
            };
            let read = self.storage.list(&scope, request).await.map_err(|error| match error {
                storage::Error::Compacted { .. } if !options.token.is_empty() => too_old_token(&after, resource),
                error => errors::of_storage(resource, "", &error),
            })?;
            at = Some(read.revision.0);
            page.revision = read.revision.0;
            let mut left = read.items.len() as u64 + read.remaining;
            for item in read.items {
                left -= 1;
                after = Some(item.key.to_string());
                if !selection.matches(resource, &item.value) {
                    continue;
                }
                page.items.push(item);
                if limit > 0 && page.items.len() == limit {
                    break;
                }
            }
            if left == 0 {
                return Ok(page);
            }
            if limit > 0 && page.items.len() == limit {
                let after = after
                    .as_deref()
                    .and_then(|key| key.strip_prefix(&resource.prefix))
                    .unwrap_or_default();
                page.token = Token {
                    revision: Some(page.revision),
                    after: after.to_owned(),
                }
                .encode();
                page.remaining = selection.is_everything().then_some(left);
                return Ok(page);
            }
        }
    }

    async fn start_of(&self, options: &ListOptions) -> Result<Start, Status> {
        if !options.token.is_empty() {
            if !options.resource_version.is_empty() && options.resource_version != "0" {
                return Err(errors::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = Token::decode(&options.token)?;
            return Ok(Start {
                at: token.revision,
                after: Some(token.after),
            });
        }
        let version = parse_version(&options.resource_version)?;
        if version == 0 {
            return Ok(Start { at: None, after: None });
        }
        self.wait_for(version).await?;
        let exact = match options.resource_version_match {
            Some(Match::Exact) => true,
            Some(Match::NotOlderThan) => false,
            None => options.limit > 0,
        };
        Ok(Start {
            at: exact.then_some(version),
            after: None,
        })
    }
}

struct Start {
    at: Option<u64>,
    after: Option<String>,
}

fn too_old_token(after: &Option<String>, resource: &Resource) -> Status {
    let after = after
        .as_deref()
        .and_then(|key| key.strip_prefix(&resource.prefix))
        .unwrap_or_default();
    let mut status = errors::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let token = Token {
        revision: None,
        after: after.to_owned(),
    }
    .encode();
    status.metadata.insert("continue".to_owned(), token.into());
    status
}
