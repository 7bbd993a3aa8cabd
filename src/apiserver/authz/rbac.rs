//! RBAC: roles and bindings, read into a policy that decides without waiting.
//!
//! The policy is fed from watches ([`Policy::set`], [`Policy::remove`]), so a decision is as fresh as they are: a
//! few milliseconds behind, as kube-apiserver's.

use std::collections::BTreeMap;

use apimachinery::{Object, meta};
use parking_lot::RwLock;
use serde::Deserialize;

use super::{Attributes, Authorizer, Decision, Target, rule::Rule};
use crate::authn::UserInfo;

/// Group of all RBAC kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The RBAC kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ClusterRole.
    ClusterRole,
    /// ClusterRoleBinding.
    ClusterRoleBinding,
    /// Role.
    Role,
    /// RoleBinding.
    RoleBinding,
}

impl Kind {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::ClusterRole,
        Self::ClusterRoleBinding,
        Self::Role,
        Self::RoleBinding,
    ];

    /// Its plural resource name.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::ClusterRole => "clusterroles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
        }
    }
}

/// Who a binding is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

impl Subject {
    fn is(&self, user: &UserInfo, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => user.username == self.name,
            "Group" => user.in_group(&self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() {
                    binding_namespace
                } else {
                    &self.namespace
                };
                !namespace.is_empty() && user.as_service_account() == Some((namespace, &self.name))
            }
            _ => false,
        }
    }

    fn describe(&self, binding_namespace: &str) -> String {
        if self.kind == "ServiceAccount" {
            let namespace = if self.namespace.is_empty() {
                binding_namespace
            } else {
                &self.namespace
            };
            return format!("ServiceAccount {:?}", format!("{}/{namespace}", self.name));
        }
        format!("{} {:?}", self.kind, self.name)
    }
}

/// The role a binding is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// `ClusterRole` or `Role`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Binding {
    #[serde(rename = "roleRef")]
    role: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
}

/// Reads the rules of a role; what is malformed grants nothing.
#[must_use]
pub fn rules_of(role: &Object) -> Vec<Rule> {
    let rules = role.get("rules").and_then(|rules| rules.as_array());
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| Rule::deserialize(rule).ok())
        .collect()
}

/// Reads the role a binding refers to.
#[must_use]
pub fn role_ref(binding: &Object) -> Option<RoleRef> {
    RoleRef::deserialize(binding.get("roleRef")?).ok()
}

#[derive(Default)]
struct Index {
    cluster_roles: BTreeMap<String, Vec<Rule>>,
    roles: BTreeMap<(String, String), Vec<Rule>>,
    cluster_bindings: BTreeMap<String, Binding>,
    bindings: BTreeMap<String, BTreeMap<String, Binding>>,
}

/// Everything that is granted.
#[derive(Default)]
pub struct Policy {
    index: RwLock<Index>,
}

/// A binding that holds for a user, and what is known of its role.
struct Grant<'a> {
    rules: Option<&'a [Rule]>,
    role: &'a RoleRef,
    /// `ClusterRoleBinding "x"` or `RoleBinding "x/ns"`, and to whom.
    binding: (&'static str, &'a str, &'a str),
    subject: &'a Subject,
}

impl Grant<'_> {
    fn reason(&self) -> String {
        let (kind, name, namespace) = self.binding;
        let name = if namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{name}/{namespace}")
        };
        let subject = self.subject.describe(namespace);
        format!(
            "RBAC: allowed by {kind} {name:?} of {} {:?} to {subject}",
            self.role.kind, self.role.name
        )
    }

    fn missing(&self) -> String {
        format!(
            "{}.{GROUP} {:?} not found",
            self.role.kind.to_ascii_lowercase(),
            self.role.name
        )
    }
}

impl Index {
    fn rules(&self, role: &RoleRef, namespace: &str) -> Option<&[Rule]> {
        let rules = match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&role.name),
            "Role" => self.roles.get(&(namespace.to_owned(), role.name.clone())),
            _ => None,
        };
        rules.map(Vec::as_slice)
    }

    /// The grants to a user at cluster scope and in a namespace, in kube-apiserver's order.
    fn grants<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = Grant<'a>> {
        let everywhere = self
            .cluster_bindings
            .iter()
            .map(|(name, b)| ("ClusterRoleBinding", name, "", b));
        let local = if namespace.is_empty() {
            None
        } else {
            self.bindings.get(namespace)
        };
        let local = local
            .into_iter()
            .flatten()
            .map(move |(name, b)| ("RoleBinding", name, namespace, b));
        everywhere
            .chain(local)
            .filter_map(move |(kind, name, namespace, binding)| {
                let subjects = binding.subjects.as_deref().unwrap_or_default();
                let subject = subjects.iter().find(|subject| subject.is(user, namespace))?;
                let rules = self.rules(&binding.role, namespace);
                Some(Grant {
                    rules,
                    role: &binding.role,
                    binding: (kind, name, namespace),
                    subject,
                })
            })
    }
}

impl Policy {
    /// Takes in an object as it is now.
    pub fn set(&self, kind: Kind, object: &Object) {
        let (namespace, name) = (meta::namespace(object).to_owned(), meta::name(object).to_owned());
        let mut index = self.index.write();
        match kind {
            Kind::ClusterRole => {
                index.cluster_roles.insert(name, rules_of(object));
            }
            Kind::Role => {
                index.roles.insert((namespace, name), rules_of(object));
            }
            Kind::ClusterRoleBinding | Kind::RoleBinding => match Binding::deserialize(object) {
                Ok(binding) if kind == Kind::RoleBinding => {
                    index.bindings.entry(namespace).or_default().insert(name, binding);
                }
                Ok(binding) => {
                    index.cluster_bindings.insert(name, binding);
                }
                Err(error) => {
                    tracing::warn!(
                        namespace,
                        name,
                        error = &error as &dyn std::error::Error,
                        "unreadable binding"
                    );
                    index.remove(kind, &namespace, &name);
                }
            },
        }
    }

    /// Forgets every object of a kind.
    pub fn clear(&self, kind: Kind) {
        let mut index = self.index.write();
        match kind {
            Kind::ClusterRole => index.cluster_roles.clear(),
            Kind::ClusterRoleBinding => index.cluster_bindings.clear(),
            Kind::Role => index.roles.clear(),
            Kind::RoleBinding => index.bindings.clear(),
        }
    }

    /// Forgets an object.
    pub fn remove(&self, kind: Kind, namespace: &str, name: &str) {
        self.index.write().remove(kind, namespace, name);
    }

    /// The rules of a role that a binding in `namespace` (empty: a cluster binding) refers to; `None` if there is none.
    #[must_use]
    pub fn role(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        self.index.read().rules(role, namespace).map(<[Rule]>::to_vec)
    }

    /// Every rule that holds for a user at cluster scope and, unless it is empty, in a namespace; and what
    /// could not be resolved.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let index = self.index.read();
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for grant in index.grants(user, namespace) {
            match grant.rules {
                Some(granted) => rules.extend_from_slice(granted),
                None => errors.push(grant.missing()),
            }
        }
        (rules, errors)
    }
}

impl Index {
    fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::ClusterRole => {
                self.cluster_roles.remove(name);
            }
            Kind::Role => {
                self.roles.remove(&(namespace.to_owned(), name.to_owned()));
            }
            Kind::ClusterRoleBinding => {
                self.cluster_bindings.remove(name);
            }
            Kind::RoleBinding => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
        }
    }
}

impl Authorizer for Policy {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let namespace = match attributes.target {
            Target::Resource(resource) => resource.namespace,
            Target::Path(_) => "",
        };
        let index = self.index.read();
        let mut missing = Vec::new();
        for grant in index.grants(attributes.user, namespace) {
            match grant.rules {
                Some(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision::Allow { reason: grant.reason() };
                }
                Some(_) => {}
                None => missing.push(grant.missing()),
            }
        }
        let reason = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        };
        Decision::NoOpinion { reason }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        Self::rules_for(self, user, namespace)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authz::Resource;

    fn policy() -> Policy {
        let policy = Policy::default();
        let role = |name: &str, resource: &str| json!({"metadata": {"name": name}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]});
        policy.set(Kind::ClusterRole, &role("pod-reader", "pods"));
        let mut local = role("cm-reader", "configmaps");
        meta::set_namespace(&mut local, "apps");
        policy.set(Kind::Role, &local);
        policy.set(
            Kind::ClusterRoleBinding,
            &json!({"metadata": {"name": "pods"}, "roleRef": {"kind": "ClusterRole", "name": "pod-reader"},
                "subjects": [{"kind": "Group", "name": "devs"}, {"kind": "ServiceAccount", "namespace": "apps", "name": "web"}]}),
        );
        policy.set(
            Kind::RoleBinding,
            &json!({"metadata": {"name": "cms", "namespace": "apps"}, "roleRef": {"kind": "Role", "name": "cm-reader"},
                "subjects": [{"kind": "User", "name": "bob"}]}),
        );
        policy
    }

    fn decide(policy: &Policy, user: &UserInfo, resource: &str, namespace: &str) -> Decision {
        let target = Target::Resource(Resource {
            resource,
            namespace,
            ..Resource::default()
        });
        policy.authorize(&Attributes {
            user,
            verb: "get",
            target,
        })
    }

    fn bob() -> UserInfo {
        UserInfo {
            username: "bob".into(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn a_role_binding_holds_in_its_namespace_only() {
        let policy = policy();
        let allowed = decide(&policy, &bob(), "configmaps", "apps");
        assert_eq!(
            allowed.reason(),
            r#"RBAC: allowed by RoleBinding "cms/apps" of Role "cm-reader" to User "bob""#
        );
        assert!(!decide(&policy, &bob(), "configmaps", "other").is_allowed());
        assert!(!decide(&policy, &bob(), "configmaps", "").is_allowed());
    }

    #[test]
    fn a_cluster_role_binding_holds_everywhere_for_groups_and_accounts() {
        let policy = policy();
        let dev = UserInfo {
            groups: vec!["devs".into()],
            ..bob()
        };
        assert!(decide(&policy, &dev, "pods", "").is_allowed() && decide(&policy, &dev, "pods", "x").is_allowed());
        let account = decide(&policy, &UserInfo::service_account("apps", "web", ""), "pods", "");
        assert!(
            account.reason().ends_with(r#"to ServiceAccount "web/apps""#),
            "{}",
            account.reason()
        );
        assert!(!decide(&policy, &UserInfo::service_account("other", "web", ""), "pods", "").is_allowed());
    }

    #[test]
    fn what_is_removed_grants_nothing_and_a_missing_role_is_told() {
        let policy = policy();
        policy.remove(Kind::Role, "apps", "cm-reader");
        let decision = decide(&policy, &bob(), "configmaps", "apps");
        assert_eq!(
            decision.reason(),
            r#"RBAC: role.rbac.authorization.k8s.io "cm-reader" not found"#
        );
        policy.remove(Kind::RoleBinding, "apps", "cms");
        assert_eq!(
            decide(&policy, &bob(), "configmaps", "apps"),
            Decision::NoOpinion { reason: String::new() }
        );
    }
}
