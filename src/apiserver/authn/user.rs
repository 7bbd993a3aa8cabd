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

/// Keys of [`UserInfo::extra`].
pub mod extra {
    /// Which credential was used: `X509SHA256=…` or `JTI=…`.
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
    /// Name of the pod a token is bound to.
    pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
    /// Uid of the pod a token is bound to.
    pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
    /// Name of the node a token is bound to.
    pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
    /// Uid of the node a token is bound to.
    pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
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

    /// A ServiceAccount.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            username: format!("{}{namespace}:{name}", users::SERVICE_ACCOUNT_PREFIX),
            uid: uid.to_owned(),
            groups: vec![
                groups::SERVICE_ACCOUNTS.into(),
                format!("{}:{namespace}", groups::SERVICE_ACCOUNTS),
            ],
            extra: BTreeMap::new(),
        }
    }

    /// Namespace and name, if the user is a ServiceAccount.
    #[must_use]
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self
            .username
            .strip_prefix(users::SERVICE_ACCOUNT_PREFIX)?
            .split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
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
