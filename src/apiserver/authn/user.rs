//! A user as authentication establishes it and authorization judges it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Well-known users.
pub mod users {
    /// Whoever brings no credentials.
    pub const ANONYMOUS: &str = "system:anonymous";
    /// Prefix of ServiceAccounts: `system:serviceaccount:NAMESPACE:NAME`.
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
}

/// Well-known groups.
pub mod groups {
    /// May do everything, before any authorizer is asked.
    pub const MASTERS: &str = "system:masters";
    /// Everybody with credentials.
    pub const AUTHENTICATED: &str = "system:authenticated";
    /// Everybody without.
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    /// Every ServiceAccount.
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
}

/// Who a request comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Unique id; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further facts, such as the pod a token is bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Whoever brings no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            username: users::ANONYMOUS.into(),
            groups: vec![groups::UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// Whether the user is in a group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Adds `system:authenticated`, as for every user with credentials.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if self.username != users::ANONYMOUS
            && !self.in_group(groups::AUTHENTICATED)
            && !self.in_group(groups::UNAUTHENTICATED)
        {
            self.groups.push(groups::AUTHENTICATED.into());
        }
        self
    }
}
