//! Authentication: who a request comes from.
//!
//! The sources are asked in kube-apiserver's order: client certificate, then bearer token (static file, then
//! ServiceAccount token), then anonymous. Impersonation is resolved after that and needs authorization.

mod user;

pub use user::{UserInfo, groups, users};

use async_trait::async_trait;

/// What a request brings to prove its identity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The verified client certificate, DER; the TLS layer has checked its chain.
    pub certificate: Option<&'a [u8]>,
    /// The value of the Authorization header.
    pub authorization: Option<&'a str>,
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
