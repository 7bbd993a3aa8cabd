//! Answers to discovery requests.

use apimachinery::status::Status;
use http::{HeaderValue, header};
use serde_json::json;

use super::{AGGREGATED, Aggregated};
use crate::{
    handlers::Context,
    reply::{self, Reply},
    request::negotiate::Offer,
};

/// Whether the path is a version that is not served, of a group that is.
fn is_version_of_known_group(context: &Context, path: &str) -> bool {
    let group = match path.strip_prefix("/api/") {
        Some(version) if !version.contains('/') => "",
        _ => match path.strip_prefix("/apis/").and_then(|rest| rest.split_once('/')) {
            Some((group, version)) if !version.contains('/') => group,
            _ => return false,
        },
    };
    context
        .server
        .registry
        .group_versions()
        .iter()
        .any(|gv| gv.group == group)
}

/// The answer to a path of discovery; `None` if it is none.
pub fn serve(context: &Context) -> Option<Result<Reply, Status>> {
    let discovery = &context.server.discovery;
    let path = context.info.path.trim_end_matches('/');
    let (legacy, aggregated) = match path {
        "/api" => (&discovery.versions, Some(&discovery.core)),
        "/apis" => (&discovery.groups, Some(&discovery.named)),
        _ => match path.strip_prefix("/apis/").filter(|rest| !rest.contains('/')) {
            Some(group) => (discovery.group.get(group)?, None),
            None => match discovery.resources.get(path) {
                Some(resources) => (resources, None),
                None if is_version_of_known_group(context, path) => {
                    return Some(Err(crate::errors::unknown_resource()));
                }
                None => return None,
            },
        },
    };
    if context.method != http::Method::GET && context.method != http::Method::HEAD {
        return Some(Err(crate::errors::method_not_allowed()));
    }
    if let Some(aggregated) = aggregated {
        match wants_aggregated(context.header(header::ACCEPT)) {
            Wanted::Aggregated => return Some(Ok(aggregate(context, aggregated))),
            Wanted::Nothing => {
                let text = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
                return Some(Err(Status::failure(406, "NotAcceptable", text)));
            }
            Wanted::Legacy => {}
        }
    }
    let accepted = match context.accepted(Offer::Plain) {
        Ok(accepted) => accepted,
        Err(status) => return Some(Err(status)),
    };
    let mut reply = reply::object(200, legacy, &accepted);
    if aggregated.is_some()
        && let Ok(reply) = &mut reply
    {
        reply
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Some(reply)
}

#[derive(PartialEq, Eq)]
enum Wanted {
    Aggregated,
    Legacy,
    Nothing,
}

/// The first clause that can be met decides; other versions of the aggregated form cannot.
fn wants_aggregated(accept: &str) -> Wanted {
    if accept.trim().is_empty() {
        return Wanted::Legacy;
    }
    for clause in accept.split(',').map(str::trim) {
        if !clause.contains("as=APIGroupDiscoveryList") {
            return Wanted::Legacy;
        }
        let has = |wanted: &str| clause.split(';').any(|p| p.trim() == wanted);
        if has("v=v2") && has("g=apidiscovery.k8s.io") && clause.starts_with("application/json") {
            return Wanted::Aggregated;
        }
    }
    Wanted::Nothing
}

fn aggregate(context: &Context, document: &Aggregated) -> Reply {
    let known = context.header(header::IF_NONE_MATCH) == document.etag;
    let mut reply = if known {
        reply::bytes(304, AGGREGATED, bytes::Bytes::new())
    } else {
        reply::compress(&context.headers, document.body.to_vec(), AGGREGATED, 200)
    };
    let headers = reply.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    reply
}

/// `/`: every path there is.
#[must_use]
pub fn root(context: &Context) -> Reply {
    let discovery = &context.server.discovery;
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(discovery.group.keys().map(|g| format!("/apis/{g}")));
    paths.extend(discovery.resources.keys().cloned());
    paths.sort();
    reply::bytes(200, "application/json", json!({"paths": paths}).to_string())
}
