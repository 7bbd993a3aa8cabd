//! Answers to questions about identity: TokenReview and SelfSubjectReview; and TokenRequest, which issues tokens.

use apimachinery::{Object, field, meta, status::Status};
use jiff::{Span, Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Authentication, UserInfo,
    service_account::{Bound, Claims, Reference, ServiceAccountTokens, TokenObject, TokenObjects},
};

const GROUP: &str = "authentication.k8s.io";
/// Shortest life of a token in seconds.
const SHORTEST: i64 = 600;
/// Longest life of a token in seconds.
const LONGEST: i64 = 1 << 32;
/// Life of a token in seconds if none is asked for.
const USUAL: i64 = 3600;

/// TokenReview: whose a token is.
///
/// # Errors
/// 400 without a token.
pub async fn token_review(authentication: &Authentication, mut review: Object) -> Result<Object, Status> {
    let token = review
        .pointer("/spec/token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = strings(review.pointer("/spec/audiences"));
    review["status"] = match authentication.token(token, &audiences).await {
        Ok(found) => {
            let user = found.user.authenticated();
            json!({"authenticated": true, "user": user, "audiences": found.audiences})
        }
        Err(_) => json!({"user": {}, "error": "invalid bearer token"}),
    };
    Ok(review)
}

/// SelfSubjectReview: who asks.
#[must_use]
pub fn self_subject(user: &UserInfo, now: Timestamp) -> Object {
    let mut review = json!({
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "status": {"userInfo": user},
    });
    meta::set_creation_timestamp(&mut review, now);
    review
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<BoundTo>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BoundTo {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

/// TokenRequest: a token of `account`. `id` is the token's unique id.
///
/// # Errors
/// 422 for a life out of range, 400 for a kind that tokens cannot be bound to, 404 and 409 for what they shall be bound to.
pub async fn token_request(
    tokens: &ServiceAccountTokens,
    objects: &dyn TokenObjects,
    account: &Object,
    mut request: Object,
    now: Timestamp,
    id: String,
) -> Result<Object, Status> {
    let spec = request.get("spec").filter(|spec| !spec.is_null());
    let wanted = spec.map_or_else(|| Ok(Wanted::default()), Wanted::deserialize);
    let wanted = wanted.map_err(|error| Status::bad_request(format!("spec: {error}")))?;
    let seconds = wanted.expiration_seconds.unwrap_or(USUAL);
    check_life(seconds)?;
    let audiences = wanted
        .audiences
        .filter(|list| !list.is_empty())
        .unwrap_or_else(|| tokens.audiences().to_vec());
    let (namespace, name) = (meta::namespace(account), meta::name(account));
    let reference = |object: &Object| Reference {
        name: meta::name(object).into(),
        uid: meta::uid(object).into(),
    };
    let mut kubernetes = Bound {
        namespace: namespace.into(),
        account: reference(account),
        ..Bound::default()
    };
    if let Some(to) = &wanted.bound_object_ref {
        bind(&mut kubernetes, to, objects).await?;
    }
    let issued = now.as_second();
    let claims = Claims {
        audiences: audiences.clone(),
        expires: issued.saturating_add(seconds),
        issued,
        issuer: tokens.issuer().to_owned(),
        id,
        kubernetes,
        not_before: issued,
        subject: UserInfo::service_account(namespace, name, "").username,
    };
    let token = tokens
        .sign(&claims)
        .map_err(|error| Status::internal(crate::errors::chain(&error)))?;
    let bound = request.pointer("/spec/boundObjectRef").cloned().unwrap_or(Value::Null);
    request["spec"] = json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound});
    for key in ["name", "namespace", "uid"] {
        if let Some(value) = meta::get(account, key) {
            meta::set(&mut request, key, value.clone());
        }
    }
    meta::set_creation_timestamp(&mut request, now);
    request["status"] = json!({"token": token, "expirationTimestamp": rfc3339(now, seconds)});
    Ok(request)
}

fn rfc3339(now: Timestamp, seconds: i64) -> String {
    let end = now.to_zoned(TimeZone::UTC).saturating_add(Span::new().seconds(seconds));
    end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn check_life(seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        SHORTEST..=LONGEST => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = field::invalid("spec.expirationSeconds", &seconds.into(), detail);
    Err(field::to_status(GROUP, "TokenRequest", "", &vec![error]))
}

async fn bind(bound: &mut Bound, to: &BoundTo, objects: &dyn TokenObjects) -> Result<(), Status> {
    let kind = match (to.api_version.as_str(), to.kind.as_str()) {
        ("v1", "Pod") => TokenObject::Pod,
        ("v1", "Secret") => TokenObject::Secret,
        ("v1", "Node") => TokenObject::Node,
        (version, kind) => {
            let version = if version.contains('/') {
                version.to_owned()
            } else {
                format!("/{version}")
            };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {version}, Kind={kind}"
            )));
        }
    };
    let namespace = if kind == TokenObject::Node {
        String::new()
    } else {
        bound.namespace.clone()
    };
    let found = objects.get(kind, &namespace, &to.name).await;
    let found = found.ok_or_else(|| Status::not_found("", kind.resource(), &to.name))?;
    let uid = meta::uid(&found);
    if !to.uid.is_empty() && to.uid != uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            to.uid
        );
        return Err(Status::conflict("", kind.resource(), &to.name, &why));
    }
    let reference = Reference {
        name: to.name.clone(),
        uid: uid.to_owned(),
    };
    match kind {
        TokenObject::Pod => {
            let account = found
                .pointer("/spec/serviceAccountName")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
                .unwrap_or("default");
            if account != bound.account.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    bound.account.name
                )));
            }
            if let Some(node) = found
                .pointer("/spec/nodeName")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
            {
                let uid = objects.get(TokenObject::Node, "", node).await;
                let uid = uid.as_ref().map(meta::uid).unwrap_or_default().to_owned();
                bound.node = Some(Reference {
                    name: node.to_owned(),
                    uid,
                });
            }
            bound.pod = Some(reference);
        }
        TokenObject::Secret => bound.secret = Some(reference),
        TokenObject::Node | TokenObject::ServiceAccount => bound.node = Some(reference),
    }
    Ok(())
}
