//! Get and list.

use std::sync::Arc;

use apimachinery::status::Status;
use storage::{
    KeyValue, Revision,
    cache::{Freshness, Query},
};

use super::{Registry, Resource, cached::Item, continuation::Token, selection::Selection};
use crate::{
    errors,
    request::options::{ListOptions, Match},
};

/// One page of a list.
pub struct ListPage {
    /// All of it is as of this revision.
    pub revision: u64,
    /// Ascending by key.
    pub items: Vec<Arc<Item>>,
    /// Token of the next page; empty at the end.
    pub token: String,
    /// How many items follow, where that is known.
    pub remaining: Option<u64>,
}

/// The number a resourceVersion is; 0 for none.
///
/// # Errors
/// 500, as kube-apiserver has it, if it is no number.
pub fn parse_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let text =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::failure(500, "", text)
    })
}

impl Registry {
    /// One object as stored, as new as can be.
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

    /// Waits until the kind's cache has seen a version.
    ///
    /// # Errors
    /// 504 if it has not after three seconds.
    pub async fn wait_for(&self, resource: &Resource, wanted: u64) -> Result<(), Status> {
        let found = self.cache(resource).get("", Freshness::AtLeast(Revision(wanted))).await;
        found.map(|_| ()).map_err(|e| errors::of_storage(resource, "", &e))
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
        let (freshness, after) = start_of(options)?;
        let limit = if options.resource_version == "0" && options.token.is_empty() {
            0
        } else {
            options.limit
        };
        let scope = scope(resource, namespace, selection);
        let after = after.map(|after| format!("{}{after}", resource.prefix));
        let query = Query {
            scope: &scope,
            freshness,
            limit,
            after: after.as_deref(),
        };
        let list = self
            .cache(resource)
            .list(query, |item| selection.matches(resource, &item.payload))
            .await;
        let list = list.map_err(|error| match error {
            storage::Error::Compacted { .. } if !options.token.is_empty() => too_old_token(after.as_deref(), resource),
            error => errors::of_storage(resource, "", &error),
        })?;
        let mut page = ListPage {
            revision: list.revision.0,
            items: list.items,
            token: String::new(),
            remaining: None,
        };
        if list.remaining > 0 && limit > 0 {
            let last = page.items.last().map(|item| item.key.to_string());
            page.token = Token {
                revision: Some(page.revision),
                after: relative(last.as_deref(), resource),
            }
            .encode();
            page.remaining = selection.is_everything().then_some(list.remaining);
        }
        Ok(page)
    }
}

/// The keys that can be selected: one if the selection names it, else those of the namespace.
#[must_use]
pub fn scope(resource: &Resource, namespace: &str, selection: &Selection) -> String {
    let namespace = if namespace.is_empty() {
        selection.namespace().unwrap_or_default()
    } else {
        namespace
    };
    match selection.name() {
        Some(name) if !resource.namespaced() || !namespace.is_empty() => resource.key(namespace, name),
        _ => resource.scope(namespace),
    }
}

fn relative(key: Option<&str>, resource: &Resource) -> String {
    key.and_then(|key| key.strip_prefix(&resource.prefix))
        .unwrap_or_default()
        .to_owned()
}

/// Of when the list is, and behind which key it starts.
fn start_of(options: &ListOptions) -> Result<(Freshness, Option<String>), Status> {
    if !options.token.is_empty() {
        if !options.resource_version.is_empty() && options.resource_version != "0" {
            return Err(errors::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Token::decode(&options.token)?;
        let freshness = token
            .revision
            .map_or(Freshness::Newest, |at| Freshness::Exactly(Revision(at)));
        return Ok((freshness, Some(token.after)));
    }
    if options.resource_version.is_empty() {
        return Ok((Freshness::Newest, None));
    }
    let version = parse_version(&options.resource_version)
        .map_err(|status| errors::bad_request(format!("invalid resource version: {}", status.message)))?;
    let version = Revision(version);
    let exact = match options.resource_version_match {
        Some(Match::Exact) => true,
        Some(Match::NotOlderThan) => false,
        None => options.limit > 0,
    };
    let freshness = match version.0 {
        0 => Freshness::Any,
        _ if exact => Freshness::Exactly(version),
        _ => Freshness::AtLeast(version),
    };
    Ok((freshness, None))
}

fn too_old_token(after: Option<&str>, resource: &Resource) -> Status {
    let mut status = errors::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let token = Token {
        revision: None,
        after: relative(after, resource),
    }
    .encode();
    status.metadata.insert("continue".to_owned(), token.into());
    status
}
