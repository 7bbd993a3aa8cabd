//! POST of reviews, which are answered and not stored, and of TokenRequests.

use apimachinery::{
    Object,
    managed_fields::{UpdateRequest, track_update},
    status::Status,
};
use bytes::Bytes;
use http::header;

use super::{Context, write};
use crate::{
    authn::reviews as identity,
    authz::reviews as access,
    errors,
    registry::{Resource, codec},
    reply::{self, Reply},
    request::{body, negotiate::Offer},
};

/// Answers a review; `None` if the kind is none.
///
/// # Errors
/// What the client is told.
pub async fn serve(context: &Context, resource: &Resource, bytes: &Bytes) -> Option<Result<Reply, Status>> {
    match resource.def.group {
        "authentication.k8s.io" | "authorization.k8s.io" => Some(answer(context, resource, bytes).await),
        _ => None,
    }
}

async fn answer(context: &Context, resource: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    context.accepted(Offer::Object)?;
    let options = write::options(context, "CreateOptions")?;
    let mut review: Object = context.decode(resource, bytes, options.field_validation)?;
    write::write(context, resource, &options).track(None, &mut review);
    let owned = review["metadata"]["managedFields"].clone();
    let server = &context.server.access;
    let authorizer = server.authorizer();
    let mut reviewed = match resource.def.kind {
        "TokenReview" => identity::token_review(server.authentication(), review).await?,
        "SelfSubjectReview" => identity::self_subject(&context.user, context.now),
        "SelfSubjectAccessReview" => access::self_subject_access(authorizer, &context.user, review)?,
        "SubjectAccessReview" => access::subject_access(authorizer, review)?,
        "LocalSubjectAccessReview" => access::local_subject_access(authorizer, &context.info.namespace, review)?,
        "SelfSubjectRulesReview" => access::self_subject_rules(authorizer, &context.user, review)?,
        _ => return Err(errors::unknown_resource()),
    };
    // Kube answers this one with an object of its own making.
    if !owned.is_null() && resource.def.kind != "SelfSubjectRulesReview" {
        reviewed["metadata"]["managedFields"] = owned;
    }
    write::answer(context, resource, 201, reviewed)
}

/// POST of a TokenRequest to `serviceaccounts/NAME/token`.
///
/// # Errors
/// What the client is told.
pub async fn token(context: &Context, accounts: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    const API_VERSION: &str = "authentication.k8s.io/v1";
    const KIND: &str = "TokenRequest";
    let accepted = context.accepted(Offer::Plain)?;
    let options = write::options(context, "CreateOptions")?;
    let format = body::format_of(context.header(header::CONTENT_TYPE))?;
    let decoded = body::decode(bytes, format, KIND)?;
    let mut request = body::check(decoded, API_VERSION, KIND, options.field_validation, &context.warnings)?;
    let owner = UpdateRequest {
        live: None,
        manager: &options.field_manager,
        subresource: "token",
        type_name: "io.k8s.api.authentication.v1.TokenRequest",
        now: context.now,
    };
    track_update(&mut request, &owner);
    let registry = &context.server.registry;
    let account = codec::decode(
        &registry
            .get(accounts, &context.info.namespace, &context.info.name)
            .await?,
    )?;
    let access = &context.server.access;
    let tokens = access.authentication().service_accounts();
    let id = uuid::Uuid::new_v4().to_string();
    let mut issued = identity::token_request(tokens, access.objects(), &account, request, context.now, id).await?;
    codec::normalize(&mut issued);
    reply::object(201, &issued, &accepted)
}

/// The public keys of ServiceAccount tokens and where they are, for those who verify them without asking us.
/// `None` for other paths.
#[must_use]
pub fn openid(context: &Context) -> Option<Reply> {
    let tokens = context.server.access.authentication().service_accounts();
    let (content_type, document) = match context.info.path.trim_end_matches('/') {
        "/openid/v1/jwks" => ("application/jwk-set+json", tokens.keys().jwks()),
        "/.well-known/openid-configuration" => {
            let document = serde_json::json!({
                "issuer": tokens.issuer(),
                "jwks_uri": format!("{}/openid/v1/jwks", context.server.url),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": tokens.keys().algorithms(),
            });
            ("application/json", document)
        }
        _ => return None,
    };
    let mut reply = reply::bytes(200, content_type, document.to_string().into_bytes());
    let cached = header::HeaderValue::from_static("public, max-age=3600");
    reply.headers_mut().insert(header::CACHE_CONTROL, cached);
    Some(reply)
}
