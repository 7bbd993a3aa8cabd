//! OpenAPI documents: what kubectl reads to explain, to validate and to build patches.
//!
//! Everything is generated from the schema table and the list of served resources. Version 3
//! has a document per group and version, known by its hash so that clients may keep it for
//! ever; version 2 is one document of everything, as JSON and, for kubectl up to 1.28, in the
//! protobuf form that goes by the name of gnostic. Documents are built when first asked for.

mod connect;
mod descriptions;
mod gnostic;
mod parameters;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;
mod v2;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What the answer calls [`V2_PROTOBUF`]: `@` is not allowed in a media type.
const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A served resource or subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// API group of the path; empty for the core group.
    pub group: String,
    /// Version of the path.
    pub version: String,
    /// Path below the group and version without the namespace: `deployments`, `deployments/scale`.
    pub name: String,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Verbs, as discovery has them.
    pub verbs: Vec<String>,
    /// Kind of the objects that the path names, as `Deployment`.
    pub parent: String,
    /// Group, version and kind of what is sent and answered, which for a subresource may differ.
    pub kind: (String, String, String),
    /// Name of the object's type in the schema table.
    pub type_name: String,
}

impl Resource {
    /// Path of the group and version, without a leading slash.
    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}

impl From<&api::KindDef> for Resource {
    fn from(def: &api::KindDef) -> Self {
        Self {
            group: def.group.to_owned(),
            version: def.version.to_owned(),
            name: def.resource.to_owned(),
            namespaced: def.namespaced,
            verbs: def.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            parent: def.kind.to_owned(),
            kind: (def.group.to_owned(), def.version.to_owned(), def.kind.to_owned()),
            type_name: def.type_name.to_owned(),
        }
    }
}

/// A kind's resource and the subresources that it declares.
#[must_use]
pub fn resources_of(def: &api::KindDef) -> Vec<Resource> {
    let main = Resource::from(def);
    let below = |name: &str, verbs: &[&str]| Resource {
        name: format!("{}/{name}", main.name),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..main.clone()
    };
    let mut all = vec![main.clone()];
    for subresource in def.subresources {
        match subresource {
            api::Subresource::Status => all.push(below("status", &["get", "patch", "update"])),
            api::Subresource::Finalize => all.push(below("finalize", &["update"])),
            api::Subresource::Scale => all.push(Resource {
                kind: ("autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned()),
                type_name: "io.k8s.api.autoscaling.v1.Scale".to_owned(),
                ..below("scale", &["get", "patch", "update"])
            }),
            api::Subresource::Other(name) => all.push(other(below, name)),
        }
    }
    all
}

/// A subresource that is neither of those that many kinds have.
fn other(below: impl Fn(&str, &[&str]) -> Resource, name: &str) -> Resource {
    let created = |group: &str, kind: &str, type_name: &str| Resource {
        kind: (group.to_owned(), "v1".to_owned(), kind.to_owned()),
        type_name: type_name.to_owned(),
        ..below(name, &["create"])
    };
    match name {
        "binding" => created("", "Binding", "io.k8s.api.core.v1.Binding"),
        "eviction" => created("policy", "Eviction", "io.k8s.api.policy.v1.Eviction"),
        "token" => created(
            "authentication.k8s.io",
            "TokenRequest",
            "io.k8s.api.authentication.v1.TokenRequest",
        ),
        "ephemeralcontainers" | "resize" => below(name, &["get", "patch", "update"]),
        // What these answer is text, or what is at the other end.
        _ => below(name, &[]),
    }
}

/// The documents of a server.
#[derive(Debug)]
pub struct OpenApi {
    resources: Vec<Resource>,
    version: String,
    v3: OnceLock<BTreeMap<String, Document>>,
    index: OnceLock<Bytes>,
    v2: OnceLock<(Document, Bytes)>,
}

#[derive(Debug)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(value: &Value) -> Self {
        let bytes = Bytes::from(value.to_string());
        let hash = Sha512::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        Self { bytes, hash }
    }
}

impl OpenApi {
    /// The documents for these resources; `version` is the server's, as `1.36`.
    #[must_use]
    pub fn new(resources: Vec<Resource>, version: impl Into<String>) -> Self {
        Self {
            resources,
            version: version.into(),
            v3: OnceLock::new(),
            index: OnceLock::new(),
            v2: OnceLock::new(),
        }
    }

    /// Answers a request below `/openapi`; `None` if there is no such path at all.
    #[must_use]
    pub fn answer(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response<Body>> {
        match path {
            "/openapi/v2" => Some(self.answer_v2(headers)),
            "/openapi/v3" => Some(respond(StatusCode::OK, "text/plain; charset=utf-8", self.index())),
            _ => path
                .strip_prefix("/openapi/v3/")
                .map(|rest| self.answer_v3(rest, query, headers)),
        }
    }

    /// The JSON of a group and version (`apis/apps/v1`).
    #[must_use]
    pub fn v3(&self, root: &str) -> Option<Bytes> {
        self.documents().get(root).map(|document| document.bytes.clone())
    }

    /// The JSON of everything.
    #[must_use]
    pub fn v2(&self) -> Bytes {
        self.merged().0.bytes.clone()
    }

    /// Version 2 in protobuf.
    #[must_use]
    pub fn v2_protobuf(&self) -> Bytes {
        self.merged().1.clone()
    }

    fn documents(&self) -> &BTreeMap<String, Document> {
        self.v3.get_or_init(|| {
            let mut groups: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
            for resource in &self.resources {
                groups.entry(resource.root()).or_default().push(resource);
            }
            groups
                .into_iter()
                .map(|(root, resources)| (root, Document::new(&self.build(&resources))))
                .collect()
        })
    }

    fn build(&self, resources: &[&Resource]) -> Value {
        let mut used = schemas::Collector::default();
        let paths = paths::of(resources, &mut used);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self.version},
            "paths": paths,
            "components": {
                "schemas": used.finish(&self.resources),
                "securitySchemes": {"BearerToken": {"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}},
            },
        })
    }

    fn merged(&self) -> &(Document, Bytes) {
        self.v2.get_or_init(|| {
            let all: Vec<&Resource> = self.resources.iter().collect();
            let document = v2::convert(self.build(&all));
            let protobuf = Bytes::from(gnostic::encode(&document));
            (Document::new(&document), protobuf)
        })
    }

    fn index(&self) -> Bytes {
        let build = || {
            let mut paths = Map::new();
            for (root, document) in self.documents() {
                paths.insert(
                    root.clone(),
                    json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={}", document.hash)}),
                );
            }
            Bytes::from(json!({"paths": paths}).to_string())
        };
        self.index.get_or_init(build).clone()
    }

    fn answer_v2(&self, headers: &HeaderMap) -> Response<Body> {
        let (document, protobuf) = self.merged();
        let mut response = match negotiate(headers, &[JSON, V2_PROTOBUF]) {
            Some(V2_PROTOBUF) => respond(StatusCode::OK, V2_PROTOBUF_ANSWER, protobuf.clone()),
            Some(_) => respond(StatusCode::OK, JSON, document.bytes.clone()),
            None => empty(StatusCode::NOT_ACCEPTABLE),
        };
        if response.status() == StatusCode::OK {
            tag(&mut response, headers, &document.hash);
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }

    fn answer_v3(&self, root: &str, query: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let Some(document) = self.documents().get(root) else {
            return empty(StatusCode::NOT_FOUND);
        };
        let hash = query
            .unwrap_or_default()
            .split('&')
            .find_map(|pair| pair.strip_prefix("hash="));
        let mut response = if negotiate(headers, &[JSON]).is_none() {
            empty(StatusCode::NOT_ACCEPTABLE)
        } else if hash.is_some_and(|hash| hash != document.hash) {
            let mut response = empty(StatusCode::MOVED_PERMANENTLY);
            set(
                &mut response,
                LOCATION,
                &format!("/openapi/v3/{root}?hash={}", document.hash),
            );
            response
        } else {
            let mut response = respond(StatusCode::OK, JSON, document.bytes.clone());
            if hash.is_some() {
                let year = jiff::SignedDuration::from_hours(24 * 365);
                let expires = jiff::Timestamp::now() + year;
                set(&mut response, CACHE_CONTROL, "public, immutable");
                set(
                    &mut response,
                    EXPIRES,
                    &expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                );
            }
            tag(&mut response, headers, &document.hash);
            response
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }
}

fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response<Body>, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds the ETag, and leaves the body out if the client has it already.
fn tag(response: &mut Response<Body>, headers: &HeaderMap, hash: &str) {
    let etag = format!("\"{hash}\"");
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if known
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == etag)
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    set(response, ETAG, &etag);
}

/// The first of the offered media types that the client takes, in the client's order.
fn negotiate(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let accepted: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if accepted.is_empty() {
        return offered.first().copied();
    }
    accepted.iter().find_map(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        offered
            .iter()
            .copied()
            .find(|offer| *offer == range || matches!(range, "*/*" | "application/*" | ""))
    })
}
