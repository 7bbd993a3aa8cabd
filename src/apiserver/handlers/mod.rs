//! From requests to registry operations and back: one handler per verb.

pub mod connect;
pub mod pods;
pub mod read;
pub mod reviews;
pub mod scale;
pub mod socket;
pub mod watch;
pub mod write;

use std::sync::Arc;

use api::Subresource;
use apimachinery::{Object, schema::Schema, status::Status};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{
    authn::UserInfo,
    errors,
    registry::{Resource, write::Warnings},
    reply::Reply,
    request::{Accepted, Query, RequestInfo, body, negotiate, options::FieldValidation},
    server::Server,
};

/// One request on its way through the server.
pub struct Context {
    /// The server.
    pub server: Arc<Server>,
    /// Method.
    pub method: Method,
    /// What the path names.
    pub info: RequestInfo,
    /// Query as it came.
    pub raw_query: String,
    /// Query, decoded.
    pub query: Query,
    /// Headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub user: UserInfo,
    /// Warnings for the answer.
    pub warnings: Warnings,
    /// When the request came.
    pub now: Timestamp,
    /// The connection itself, for those who take it over.
    pub upgrade: Mutex<Option<OnUpgrade>>,
}

impl Context {
    /// A header as text, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Whether JSON is to be indented: asked for, or the client is a person's.
    #[must_use]
    pub fn pretty(&self) -> bool {
        self.query.optional_flag("pretty").unwrap_or_else(|| {
            let agent = self.header(header::USER_AGENT);
            ["curl", "Wget", "Mozilla/5.0"]
                .iter()
                .any(|prefix| agent.starts_with(prefix))
        })
    }

    /// What the client accepts of an offer.
    ///
    /// # Errors
    /// 406 if nothing of it.
    pub fn accepted(&self, offer: negotiate::Offer) -> Result<Accepted, Status> {
        negotiate::negotiate(self.header(header::ACCEPT), offer, self.pretty())
    }

    /// What the client accepts of an offer about objects of a kind: those without a schema have no protobuf form.
    ///
    /// # Errors
    /// 406 if nothing of it.
    pub fn accepted_of(&self, resource: &Resource, offer: negotiate::Offer) -> Result<Accepted, Status> {
        let accept = self.header(header::ACCEPT);
        if Schema::global().type_by_name(resource.def.type_name).is_some() {
            return negotiate::negotiate(accept, offer, self.pretty());
        }
        let others: Vec<&str> = accept
            .split(',')
            .filter(|clause| !clause.contains("protobuf"))
            .collect();
        if others.is_empty() && !accept.is_empty() {
            return Err(Status::not_acceptable(&["application/json", "application/yaml"]));
        }
        negotiate::negotiate(&others.join(","), offer, self.pretty())
    }

    /// Decodes the body as an object of a kind in its served version.
    ///
    /// # Errors
    /// 400 for what cannot be decoded or is another kind, 415 for other content types.
    pub fn decode(&self, resource: &Resource, bytes: &Bytes, validation: FieldValidation) -> Result<Object, Status> {
        let format = body::format_of(self.header(header::CONTENT_TYPE))?;
        let decoded = body::decode(bytes, format, resource.def.kind)?;
        body::check(
            decoded,
            &resource.def.api_version(),
            resource.def.kind,
            validation,
            &self.warnings,
        )
    }
}

/// Serves a request for a resource.
///
/// # Errors
/// What the client is told.
pub async fn serve(context: Arc<Context>, bytes: Bytes) -> Result<Reply, Status> {
    let info = &context.info;
    let registry = &context.server.registry;
    let Some(resource) = registry.resource(&info.group, &info.version, &info.resource).cloned() else {
        return Err(errors::unknown_resource());
    };
    if !resource.namespaced() && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(errors::unknown_resource());
    }
    if resource.namespaced() && info.namespace.is_empty() && !info.name.is_empty() {
        return Err(errors::unknown_resource());
    }
    let reply = answer(&context, &resource, &bytes).await;
    let deprecation = resource.conversion().and_then(|c| c.deprecation);
    if let Some(text) = deprecation.or(resource.def.deprecation)
        && reply.as_ref().err().is_none_or(|status| is_routed(&context, status))
    {
        context.warnings.put_first(text);
    }
    reply
}

/// Whether a refused request was for something there is: only of these is the client warned.
fn is_routed(context: &Context, refusal: &Status) -> bool {
    let no_route = [errors::unknown_resource(), errors::method_not_allowed()]
        .iter()
        .any(|none| none.message == refusal.message);
    let no_patch = refusal.code == 415 && context.info.verb == "patch";
    !no_route && !no_patch
}

/// Serves a request for a resource that there is.
async fn answer(context: &Context, resource: &Arc<Resource>, bytes: &Bytes) -> Result<Reply, Status> {
    let info = &context.info;
    if !info.subresource.is_empty() {
        return subresource(context, resource, bytes).await;
    }
    if !resource.def.verbs.contains(&info.verb.as_str()) {
        return Err(errors::method_not_allowed());
    }
    if let Some(reply) = reviews::serve(context, resource, bytes).await {
        return reply;
    }
    match info.verb.as_str() {
        "get" if context.method == http::Method::HEAD => Err(errors::method_not_allowed()),
        "get" => read::get(context, resource).await,
        "list" => read::list(context, resource).await,
        "watch" => watch::watch(context, resource).await,
        "create" if resource.namespaced() && info.namespace.is_empty() => Err(errors::method_not_allowed()),
        "create" if !info.name.is_empty() => Err(errors::method_not_allowed()),
        "update" | "patch" if info.name.is_empty() => Err(errors::method_not_allowed()),
        "create" => write::create(context, resource, bytes).await,
        "update" => write::update(context, resource, bytes).await,
        "patch" => write::patch(context, resource, bytes).await,
        "delete" => write::delete(context, resource, bytes).await,
        "deletecollection" => write::delete_collection(context, resource, bytes).await,
        _ => Err(errors::method_not_allowed()),
    }
}

/// Serves a request for a subresource.
async fn subresource(context: &Context, resource: &Arc<Resource>, bytes: &Bytes) -> Result<Reply, Status> {
    let (name, verb) = (context.info.subresource.as_str(), context.info.verb.as_str());
    let has = |wanted: Subresource| resource.def.has(wanted);
    if let Some(reply) = connect::serve(context, resource, bytes).await {
        return reply;
    }
    match (resource.def.resource, name, verb) {
        (_, "status", _) if has(Subresource::Status) => match verb {
            "get" => read::get(context, resource).await,
            "update" => write::update(context, resource, bytes).await,
            "patch" => write::patch(context, resource, bytes).await,
            _ => Err(errors::method_not_allowed()),
        },
        (_, "scale", _) if has(Subresource::Scale) => scale::serve(context, resource, bytes).await,
        (_, "finalize", "update") if has(Subresource::Finalize) => write::update(context, resource, bytes).await,
        ("serviceaccounts", "token", "create") => reviews::token(context, resource, bytes).await,
        ("serviceaccounts", "token", _) => Err(errors::method_not_allowed()),
        ("pods", "binding", "create") => pods::bind(context, resource, bytes).await,
        ("pods", "eviction", "create") => pods::evict(context, resource, bytes).await,
        ("pods", "ephemeralcontainers" | "resize", "get") => read::get(context, resource).await,
        ("pods", "ephemeralcontainers" | "resize", "update") => write::update(context, resource, bytes).await,
        ("pods", "ephemeralcontainers" | "resize", "patch") => write::patch(context, resource, bytes).await,
        _ => Err(errors::unknown_resource()),
    }
}
