//! What ServiceAccount tokens say.

use serde::{Deserialize, Serialize};

/// Issuer of tokens that live in Secrets.
pub(super) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// An object by name and uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Uid.
    #[serde(default)]
    pub uid: String,
}

/// What a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Namespace of the account, and of pod and secret.
    pub namespace: String,
    /// Node; told together with a pod, checked if alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// Pod; the token dies with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// Secret; the token dies with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    #[serde(rename = "serviceaccount")]
    pub account: Reference,
}

/// The claims of a token that TokenRequest issues. Times are seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    #[serde(rename = "aud", default, deserialize_with = "one_or_many")]
    pub audiences: Vec<String>,
    /// To when.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// Issued when.
    #[serde(rename = "iat", default)]
    pub issued: i64,
    /// By whom.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// Unique id.
    #[serde(rename = "jti", default)]
    pub id: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    /// From when.
    #[serde(rename = "nbf", default)]
    pub not_before: i64,
    /// User name.
    #[serde(rename = "sub")]
    pub subject: String,
}

/// The claims of a token in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Legacy {
    #[serde(rename = "iss")]
    pub(super) issuer: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub(super) namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub(super) secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub(super) account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub(super) account_uid: String,
    #[serde(rename = "sub")]
    pub(super) subject: String,
}

impl Legacy {
    pub(super) fn new(namespace: &str, account: &str, uid: &str, secret: &str) -> Self {
        Self {
            issuer: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            account_uid: uid.to_owned(),
            subject: crate::authn::UserInfo::service_account(namespace, account, uid).username,
        }
    }
}

/// Either of the two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Any {
    Bound(Claims),
    Legacy(Legacy),
}

impl Any {
    pub(super) fn issuer(&self) -> &str {
        match self {
            Self::Bound(claims) => &claims.issuer,
            Self::Legacy(legacy) => &legacy.issuer,
        }
    }
}

/// JWT allows a single audience to stand for itself.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
