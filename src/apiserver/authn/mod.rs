//! Authentication: who a request comes from.
//!
//! The sources are asked in kube-apiserver's order: client certificate, then bearer token (static file, then
//! ServiceAccount token), then anonymous. Impersonation is resolved after that and needs authorization.

pub mod impersonation;
pub mod reviews;
pub mod service_account;
pub mod token_file;
mod user;
pub mod x509;

use std::sync::Arc;

use async_trait::async_trait;

pub use service_account::{ServiceAccountTokens, TokenObjects};
pub use token_file::TokenFile;
pub use user::{UserInfo, extra, groups, users};

/// What a request brings to prove its identity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The verified client certificate, DER; the TLS layer has checked its chain.
    pub certificate: Option<&'a [u8]>,
    /// The value of the Authorization header.
    pub authorization: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// The bearer token, if there is one.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.trim().split_once(' ')?;
        // Nothing may follow the token but space, as in kube-apiserver.
        let token = token.split(' ').next().unwrap_or_default();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

/// Credentials that prove nothing: the answer is 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Unauthorized")]
pub struct Unauthorized;

/// Tells who a request comes from.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user, `system:anonymous` if there are no credentials and that is allowed.
    ///
    /// # Errors
    /// [`Unauthorized`] if the credentials are wrong, or missing and needed.
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<UserInfo, Unauthorized>;
}

/// A token that proved to be somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Whose.
    pub user: UserInfo,
    /// Which of the wanted audiences it is good for.
    pub audiences: Vec<String>,
}

/// All sources of a server.
pub struct Authentication {
    tokens: TokenFile,
    service_accounts: Arc<ServiceAccountTokens>,
    objects: Arc<dyn TokenObjects>,
    anonymous: bool,
}

impl Authentication {
    /// `anonymous`: whether requests without credentials are let in as `system:anonymous`.
    #[must_use]
    pub fn new(
        tokens: TokenFile,
        service_accounts: Arc<ServiceAccountTokens>,
        objects: Arc<dyn TokenObjects>,
        anonymous: bool,
    ) -> Self {
        Self {
            tokens,
            service_accounts,
            objects,
            anonymous,
        }
    }

    /// The keys and the issuer of ServiceAccount tokens.
    #[must_use]
    pub fn service_accounts(&self) -> &Arc<ServiceAccountTokens> {
        &self.service_accounts
    }

    /// Whose a token is, if it is good for one of `audiences`; an empty list stands for the API server itself.
    ///
    /// # Errors
    /// [`Unauthorized`] if it is nobody's, or not for them.
    pub async fn token(&self, token: &str, audiences: &[String]) -> Result<Authenticated, Unauthorized> {
        let own = self.service_accounts.audiences();
        let wanted = if audiences.is_empty() { own } else { audiences };
        if let Some(user) = self.tokens.find(token) {
            // A static token says nothing of audiences: it is meant for this server.
            let audiences: Vec<_> = wanted
                .iter()
                .filter(|audience| own.contains(audience))
                .cloned()
                .collect();
            if audiences.is_empty() {
                return Err(Unauthorized);
            }
            return Ok(Authenticated {
                user: user.clone(),
                audiences,
            });
        }
        let verified = self
            .service_accounts
            .verify(token, wanted, jiff::Timestamp::now(), &*self.objects)
            .await;
        verified.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "refused a bearer token");
            Unauthorized
        })
    }
}

#[async_trait]
impl Authenticator for Authentication {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<UserInfo, Unauthorized> {
        if let Some(user) = credentials.certificate.and_then(x509::user) {
            return Ok(user.authenticated());
        }
        if let Some(token) = credentials.bearer_token() {
            return Ok(self.token(token, &[]).await?.user.authenticated());
        }
        if self.anonymous {
            Ok(UserInfo::anonymous())
        } else {
            Err(Unauthorized)
        }
    }
}

#[cfg(test)]
mod tests;
