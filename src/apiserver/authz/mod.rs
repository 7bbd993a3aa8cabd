//! Authorization: whether a user may do what a request asks for.

pub mod bootstrap;
pub mod escalation;
pub mod rbac;
pub mod reviews;
pub mod rule;

use std::sync::Arc;

use apimachinery::status::{Status, StatusDetails};

use crate::authn::{UserInfo, groups};
use rule::Rule;

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

    /// What the user may do in a namespace and at cluster scope, for SelfSubjectRulesReview; and what could not be
    /// told.
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Rule>, Vec<String>) {
        (Vec::new(), Vec::new())
    }
}

/// A rule for everything in the API and one for every path.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    let resources = Rule {
        verbs: all(),
        api_groups: all(),
        resources: all(),
        ..Rule::default()
    };
    let paths = Rule {
        verbs: all(),
        non_resource_urls: all(),
        ..Rule::default()
    };
    [resources, paths]
}

/// `--authorization-mode=AlwaysAllow`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow { reason: String::new() }
    }

    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Rule>, Vec<String>) {
        (everything().to_vec(), Vec::new())
    }
}

/// Several authorizers: the first that allows decides. `system:masters` may do everything before any is asked.
#[derive(Default)]
pub struct Union {
    members: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    /// Asked in this order; with none, only `system:masters` may do anything.
    #[must_use]
    pub fn new(members: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { members }
    }
}

impl Authorizer for Union {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(groups::MASTERS) {
            return Decision::Allow { reason: String::new() };
        }
        let mut reasons = Vec::new();
        for member in &self.members {
            match member.authorize(attributes) {
                Decision::NoOpinion { reason } => reasons.push(reason),
                allow @ Decision::Allow { .. } => return allow,
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Decision::NoOpinion {
            reason: reasons.join("\n"),
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        if user.in_group(groups::MASTERS) {
            rules.extend(everything());
        }
        for member in &self.members {
            let (more, failed) = member.rules_for(user, namespace);
            rules.extend(more);
            errors.extend(failed);
        }
        let mut seen = Vec::new();
        rules.retain(|rule| {
            !seen.contains(rule) && {
                seen.push(rule.clone());
                true
            }
        });
        (rules, errors)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(user: &str, verb: &str, target: Target<'_>) -> String {
        let user = UserInfo {
            username: user.into(),
            ..UserInfo::default()
        };
        forbidden(
            &Attributes {
                user: &user,
                verb,
                target,
            },
            "",
        )
        .message
    }

    #[test]
    fn refusals_read_as_kube_apiservers() {
        let resource = Resource {
            resource: "configmaps",
            version: "v1",
            ..Resource::default()
        };
        assert_eq!(
            message(
                "bob",
                "list",
                Target::Resource(Resource {
                    namespace: "default",
                    ..resource
                })
            ),
            r#"configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" in the namespace "default""#
        );
        let scale = Resource {
            group: "apps",
            resource: "deployments",
            subresource: "scale",
            name: "x",
            ..resource
        };
        assert_eq!(
            message("bob", "get", Target::Resource(scale)),
            r#"deployments.apps "x" is forbidden: User "bob" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#
        );
        assert_eq!(
            message("system:anonymous", "get", Target::Path("/metrics")),
            r#"forbidden: User "system:anonymous" cannot get path "/metrics""#
        );
    }

    #[test]
    fn without_authorizers_only_masters_may() {
        let union = Union::default();
        let target = Target::Path("/");
        let may = |user: &UserInfo| {
            union
                .authorize(&Attributes {
                    user,
                    verb: "get",
                    target,
                })
                .is_allowed()
        };
        assert!(!may(&UserInfo::anonymous()));
        assert!(may(&UserInfo {
            groups: vec![groups::MASTERS.into()],
            ..UserInfo::default()
        }));
    }
}
