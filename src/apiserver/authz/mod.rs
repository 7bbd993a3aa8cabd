//! Authorization: whether a user may do what a request asks for.

use apimachinery::status::{Status, StatusDetails};

use crate::authn::UserInfo;

/// What a request wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// API verb (`get`, `list`, `deletecollection`…), or the HTTP method in lower case for paths.
    pub verb: &'a str,
    /// To what.
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A resource of the API.
    Resource(Resource<'a>),
    /// A path outside of it, such as `/metrics`.
    Path(&'a str),
}

/// A resource as authorization sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version; not judged, only reported.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource; empty if none.
    pub subresource: &'a str,
    /// Namespace; empty at cluster scope and for lists across namespaces.
    pub namespace: &'a str,
    /// Object name; empty for collections.
    pub name: &'a str,
}

/// An authorizer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow {
        /// Why, for reviews and the audit log.
        reason: String,
    },
    /// Not as far as this authorizer knows. Without anybody who allows, that is no.
    NoOpinion {
        /// Why; often empty.
        reason: String,
    },
}

impl Decision {
    /// Whether it is yes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow { reason } | Self::NoOpinion { reason } => reason,
        }
    }
}

/// Decides from what it has at hand; never waits.
pub trait Authorizer: Send + Sync {
    /// Whether the user may.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

/// `--authorization-mode=AlwaysAllow`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow { reason: String::new() }
    }
}

/// The 403 answer to a request that nobody allowed.
#[must_use]
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let user = quote(&attributes.user.username);
    let verb = attributes.verb;
    let mut details = StatusDetails::default();
    let mut message = match attributes.target {
        Target::Path(path) => format!("forbidden: User {user} cannot {verb} path {}", quote(path)),
        Target::Resource(r) => {
            let resource = if r.subresource.is_empty() {
                r.resource.to_owned()
            } else {
                format!("{}/{}", r.resource, r.subresource)
            };
            let qualified = if r.group.is_empty() {
                r.resource.to_owned()
            } else {
                format!("{}.{}", r.resource, r.group)
            };
            details = StatusDetails {
                name: r.name.to_owned(),
                group: r.group.to_owned(),
                kind: r.resource.to_owned(),
                ..StatusDetails::default()
            };
            let named = if r.name.is_empty() {
                qualified
            } else {
                format!("{qualified} {}", quote(r.name))
            };
            let place = if r.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", quote(r.namespace))
            };
            format!(
                "{named} is forbidden: User {user} cannot {verb} resource {} in API group {} {place}",
                quote(&resource),
                quote(r.group)
            )
        }
    };
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    Status::failure(403, "Forbidden", message).with_details(details)
}

/// As Go's `%q` does for the names that occur here.
fn quote(text: &str) -> String {
    format!("{text:?}")
}
