//! ServiceAccount tokens: JWTs that this server, or another one with the same keys, has signed.
//!
//! A signature is checked once per token and remembered; time, account and bound object are looked at for
//! every request, so a deleted account or pod is shut out at once.

mod claims;
mod keys;

use std::{collections::HashMap, sync::Arc};

use apimachinery::{Object, meta};
use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

pub use claims::{Bound, Claims, Reference};
pub use keys::{KeyError, Keys};

use super::{Authenticated, UserInfo, extra};
use claims::Any;

/// How many checked signatures are remembered; with a kilobyte each they stay small.
const REMEMBERED: usize = 2048;

/// Kinds that tokens refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenObject {
    /// The account itself.
    ServiceAccount,
    /// A pod that a token is bound to.
    Pod,
    /// A secret that holds a token, or that a token is bound to.
    Secret,
    /// A node that a token is bound to; its namespace is empty.
    Node,
}

impl TokenObject {
    /// Its plural resource name.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Pod => "pods",
            Self::Secret => "secrets",
            Self::Node => "nodes",
        }
    }
}

/// Looks up what tokens refer to.
#[async_trait]
pub trait TokenObjects: Send + Sync {
    /// The object as it is now; `None` if there is none, or the server has no such kind.
    async fn get(&self, kind: TokenObject, namespace: &str, name: &str) -> Option<Object>;
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no JWT of ours.
    #[error("the token was not signed by a known key")]
    Signature,
    /// Somebody else issued it.
    #[error("the token's issuer {issuer:?} is not this server")]
    Issuer {
        /// Who.
        issuer: String,
    },
    /// It is over, or has not begun.
    #[error(
        "the token is valid from {} to {} (seconds since the epoch), not now",
        not_before,
        expires
    )]
    Time {
        /// From when, in seconds since the epoch.
        not_before: i64,
        /// To when, in seconds since the epoch.
        expires: i64,
    },
    /// It is for somebody else.
    #[error("the token is for the audiences {audiences:?}")]
    Audience {
        /// For whom.
        audiences: Vec<String>,
    },
    /// What it refers to is gone, or is another object of the same name.
    #[error("{resource} {namespace}/{name} of the token is gone or another one")]
    Object {
        /// Plural resource name.
        resource: &'static str,
        /// Namespace; empty for nodes.
        namespace: String,
        /// Name.
        name: String,
    },
}

/// Signs and verifies ServiceAccount tokens.
pub struct ServiceAccountTokens {
    keys: Keys,
    issuer: String,
    audiences: Vec<String>,
    verified: Mutex<HashMap<[u8; 32], Arc<Any>>>,
}

impl ServiceAccountTokens {
    /// Tokens of an issuer; the API server's own audience is the issuer.
    #[must_use]
    pub fn new(keys: Keys, issuer: &str) -> Self {
        Self {
            keys,
            issuer: issuer.to_owned(),
            audiences: vec![issuer.to_owned()],
            verified: Mutex::default(),
        }
    }

    /// Audiences of the API server.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Who issues.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Signs claims.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        self.keys.sign(claims)
    }

    /// Signs a token that does not expire, for a Secret of type `kubernetes.io/service-account-token`.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign_legacy(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Result<String, KeyError> {
        self.keys.sign(&claims::Legacy::new(namespace, account, uid, secret))
    }

    /// Whose a token is, if it is good now for one of the `wanted` audiences.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn verify(
        &self,
        token: &str,
        wanted: &[String],
        now: Timestamp,
        objects: &dyn TokenObjects,
    ) -> Result<Authenticated, TokenError> {
        match &*self.signed(token)? {
            Any::Bound(claims) => self.verify_bound(claims, wanted, now, objects).await,
            Any::Legacy(legacy) => {
                let user = verify_legacy(legacy, token, objects).await?;
                let audiences: Vec<_> = wanted.iter().filter(|a| self.audiences.contains(a)).cloned().collect();
                if audiences.is_empty() {
                    return Err(TokenError::Audience {
                        audiences: self.audiences.clone(),
                    });
                }
                Ok(Authenticated { user, audiences })
            }
        }
    }

    /// The claims of a token whose signature is good.
    fn signed(&self, token: &str) -> Result<Arc<Any>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.verified.lock().get(&digest) {
            return Ok(Arc::clone(claims));
        }
        let claims: Any = self.keys.verify(token).ok_or(TokenError::Signature)?;
        let issuer = claims.issuer();
        if issuer != self.issuer && issuer != claims::LEGACY_ISSUER {
            return Err(TokenError::Issuer {
                issuer: issuer.to_owned(),
            });
        }
        let claims = Arc::new(claims);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    async fn verify_bound(
        &self,
        claims: &Claims,
        wanted: &[String],
        now: Timestamp,
        objects: &dyn TokenObjects,
    ) -> Result<Authenticated, TokenError> {
        let now = now.as_second();
        if now < claims.not_before || now >= claims.expires {
            return Err(TokenError::Time {
                not_before: claims.not_before,
                expires: claims.expires,
            });
        }
        let audiences: Vec<_> = wanted
            .iter()
            .filter(|audience| claims.audiences.contains(audience))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return Err(TokenError::Audience {
                audiences: claims.audiences.clone(),
            });
        }
        let bound = &claims.kubernetes;
        let namespace = bound.namespace.as_str();
        let mut user = UserInfo::service_account(namespace, &bound.account.name, &bound.account.uid);
        if claims.subject != user.username {
            return Err(TokenError::Signature);
        }
        same(objects, TokenObject::ServiceAccount, namespace, &bound.account).await?;
        if let Some(secret) = &bound.secret {
            same(objects, TokenObject::Secret, namespace, secret).await?;
        }
        let mut add = |key: &str, value: &str| user.extra.insert(key.to_owned(), vec![value.to_owned()]);
        if let Some(pod) = &bound.pod {
            same(objects, TokenObject::Pod, namespace, pod).await?;
            add(extra::POD_NAME, &pod.name);
            add(extra::POD_UID, &pod.uid);
        }
        if let Some(node) = &bound.node {
            // With a pod the node is only told, for a pod outlives its node's registration.
            if bound.pod.is_none() {
                same(objects, TokenObject::Node, "", node).await?;
            }
            add(extra::NODE_NAME, &node.name);
            add(extra::NODE_UID, &node.uid);
        }
        if !claims.id.is_empty() {
            add(extra::CREDENTIAL_ID, &format!("JTI={}", claims.id));
        }
        Ok(Authenticated { user, audiences })
    }
}

/// The object a token refers to must be there with the same uid, and not have been asked to go long ago.
async fn same(
    objects: &dyn TokenObjects,
    kind: TokenObject,
    namespace: &str,
    reference: &Reference,
) -> Result<Object, TokenError> {
    let found = objects.get(kind, namespace, &reference.name).await;
    found
        .filter(|object| meta::uid(object) == reference.uid && !long_gone(object))
        .ok_or_else(|| TokenError::Object {
            resource: kind.resource(),
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
        })
}

/// A pod that is being deleted keeps its token for a minute, so that it can say goodbye.
const GRACE_SECONDS: i64 = 60;

fn long_gone(object: &Object) -> bool {
    let asked = meta::deletion_timestamp(object).and_then(|time| time.parse::<Timestamp>().ok());
    asked.is_some_and(|asked| Timestamp::now().as_second() >= asked.as_second() + GRACE_SECONDS)
}

async fn verify_legacy(
    legacy: &claims::Legacy,
    token: &str,
    objects: &dyn TokenObjects,
) -> Result<UserInfo, TokenError> {
    let account = Reference {
        name: legacy.account.clone(),
        uid: legacy.account_uid.clone(),
    };
    let namespace = legacy.namespace.as_str();
    let user = UserInfo::service_account(namespace, &account.name, &account.uid);
    if legacy.subject != user.username {
        return Err(TokenError::Signature);
    }
    let secret = objects.get(TokenObject::Secret, namespace, &legacy.secret).await;
    let holds = secret.is_some_and(|secret| {
        use base64::Engine as _;
        let data = secret
            .pointer("/data/token")
            .and_then(|data| data.as_str())
            .unwrap_or_default();
        let data = base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap_or_default();
        data == token.as_bytes() && meta::deletion_timestamp(&secret).is_none()
    });
    if !holds {
        let (resource, namespace) = (TokenObject::Secret.resource(), namespace.to_owned());
        return Err(TokenError::Object {
            resource,
            namespace,
            name: legacy.secret.clone(),
        });
    }
    same(objects, TokenObject::ServiceAccount, namespace, &account).await?;
    Ok(user)
}

#[cfg(test)]
mod tests;
