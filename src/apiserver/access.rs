//! Who may do what: authentication and authorization put together.

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;

use crate::authn::{Authenticator, Credentials, Unauthorized, UserInfo};

/// Client certificates and the token file.
#[derive(Debug, Default)]
pub(crate) struct Static {
    tokens: BTreeMap<String, UserInfo>,
}

impl Static {
    /// Reads a token file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn new(token_file: Option<&Path>) -> std::io::Result<Self> {
        let mut tokens = BTreeMap::new();
        if let Some(path) = token_file {
            for line in std::fs::read_to_string(path)?.lines().filter(|l| !l.trim().is_empty()) {
                let mut parts = line.splitn(4, ',').map(|p| p.trim().trim_matches('"').to_owned());
                let token = parts.next().unwrap_or_default();
                let username = parts.next().unwrap_or_default();
                let uid = parts.next().unwrap_or_default();
                let groups = parts.next().unwrap_or_default();
                let groups = groups.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect();
                let user = UserInfo {
                    username,
                    uid,
                    groups,
                    extra: BTreeMap::new(),
                };
                tokens.insert(token, user.authenticated());
            }
        }
        Ok(Self { tokens })
    }
}

#[async_trait]
impl Authenticator for Static {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<UserInfo, Unauthorized> {
        if let Some(der) = credentials.certificate {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| Unauthorized)?;
            let subject = parsed.subject();
            let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or_default().to_owned();
            let groups = subject.iter_organization().map(text).collect();
            let username = subject.iter_common_name().map(text).next().unwrap_or_default();
            return Ok(UserInfo {
                username,
                groups,
                ..UserInfo::default()
            }
            .authenticated());
        }
        let token = credentials
            .authorization
            .and_then(|v| v.strip_prefix("Bearer "))
            .map(str::trim);
        token
            .and_then(|token| self.tokens.get(token).cloned())
            .ok_or(Unauthorized)
    }
}
