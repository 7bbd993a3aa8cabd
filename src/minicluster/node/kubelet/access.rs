//! Who may use the kubelet API: whoever the API server lets `proxy` to the node.
//!
//! A client shows a certificate of the cluster's client authority, or a token that the API server
//! knows. What it may do is asked of the API server in both cases.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use x509_parser::x509::AttributeTypeAndValue;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    groups: Vec<String>,
}

impl User {
    /// Whom a verified certificate names.
    pub(super) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        let subject = certificate.subject();
        Some(Self {
            name: subject.iter_common_name().find_map(text)?,
            groups: subject.iter_organization().filter_map(text).collect(),
        })
    }
}

/// A connection: to which node, and whom its certificate names.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The node.
    pub(super) node: Arc<str>,
    /// The user; `None` without a certificate.
    pub(super) user: Option<User>,
}

/// Lets a request pass, or answers as a kubelet does.
pub(super) async fn check(State(client): State<Client>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let user = match caller.user {
        Some(user) => Some(user),
        None => match bearer(&request) {
            Some(token) => review(&client, token).await,
            None => None,
        },
    };
    let Some(user) = user else {
        return (StatusCode::UNAUTHORIZED, "Unauthorized").into_response();
    };
    let verb = match *request.method() {
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "get",
    };
    if is_allowed(&client, &user, verb, &caller.node).await {
        next.run(request).await
    } else {
        let text = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[proxy])",
            user.name
        );
        (StatusCode::FORBIDDEN, text).into_response()
    }
}

fn bearer(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Whom a token belongs to; `None` if to nobody, or if the API server does not say.
async fn review(client: &Client, token: String) -> Option<User> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token,
            ..TokenReviewSpec::default()
        },
        ..TokenReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let answer = answer
        .inspect_err(|error| tracing::warn!(%error, "cannot have a token reviewed"))
        .ok()?;
    let status = answer.status.filter(|status| status.authenticated == Some(true))?;
    let user = status.user?;
    Some(User {
        name: user.username?,
        groups: user.groups.unwrap_or_default(),
    })
}

async fn is_allowed(client: &Client, user: &User, verb: &str, node: &str) -> bool {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            groups: Some(user.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".into()),
                resource: Some("nodes".into()),
                subresource: Some("proxy".into()),
                name: Some(node.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    match Api::all(client.clone()).create(&PostParams::default(), &review).await {
        Ok(answer) => answer.status.is_some_and(|status| status.allowed),
        Err(error) => {
            tracing::warn!(%error, "cannot have an access reviewed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_names_its_user_and_groups() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = User {
            name: "kube-apiserver-kubelet-client".into(),
            groups: vec!["system:masters".into()],
        };
        assert_eq!(User::of_certificate(certificate.der()), Some(expected));
        assert_eq!(User::of_certificate(b"not a certificate"), None);
    }

    #[test]
    fn only_bearer_tokens_count() {
        let request = |value: &str| {
            let request = Request::get("/").header(header::AUTHORIZATION, value);
            request.body(axum::body::Body::empty()).unwrap()
        };
        assert_eq!(bearer(&request("bearer abc")).as_deref(), Some("abc"));
        assert_eq!(bearer(&request("Basic abc")), None);
    }
}
