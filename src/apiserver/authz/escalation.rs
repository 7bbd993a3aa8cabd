//! Nobody may grant what he does not hold: checks on writes of roles and bindings.

use apimachinery::{Object, meta, status::Status};

use super::{
    Attributes, Authorizer, Resource, Target,
    rbac::{self, GROUP, Kind, Policy},
    rule::{Rule, quoted, uncovered},
};
use crate::authn::{UserInfo, groups};

/// Checks a write of a role or binding, before it is stored. `old` is what it replaces.
///
/// # Errors
/// 403 if it would grant more than the writer holds; 404 if a binding's role does not exist and the writer may not
/// bind it unseen.
pub fn check(
    policy: &Policy,
    user: &UserInfo,
    kind: Kind,
    object: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    if user.in_group(groups::MASTERS) {
        return Ok(());
    }
    let (namespace, name) = (meta::namespace(object), meta::name(object));
    let refuse = |why: &str| Status::forbidden(GROUP, kind.resource(), name, why);
    match kind {
        Kind::Role | Kind::ClusterRole => {
            if old.is_some_and(|old| old.get("rules") == object.get("rules") && same_aggregation(old, object)) {
                return Ok(());
            }
            if may(policy, user, "escalate", kind.resource(), namespace, name) {
                return Ok(());
            }
            let aggregates = object.get("aggregationRule").is_some_and(|rule| !rule.is_null());
            if kind == Kind::ClusterRole
                && aggregates
                && !old.is_some_and(|old| same_aggregation(old, object))
                && grants_more(policy, user, "", &super::everything()).is_some()
            {
                return Err(refuse("must have cluster-admin privileges to use the aggregationRule"));
            }
            grants_more(policy, user, namespace, &rbac::rules_of(object)).map_or(Ok(()), |why| Err(refuse(&why)))
        }
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            let unchanged = |old: &Object| {
                old.get("roleRef") == object.get("roleRef") && old.get("subjects") == object.get("subjects")
            };
            let Some(role) = rbac::role_ref(object) else {
                return Ok(());
            };
            let resource = if role.kind == "Role" {
                Kind::Role
            } else {
                Kind::ClusterRole
            };
            if old.is_some_and(unchanged) || may(policy, user, "bind", resource.resource(), namespace, &role.name) {
                return Ok(());
            }
            let Some(rules) = policy.role(&role, namespace) else {
                return Err(Status::not_found(GROUP, kind.resource(), &role.name));
            };
            grants_more(policy, user, namespace, &rules).map_or(Ok(()), |why| Err(refuse(&why)))
        }
    }
}

fn same_aggregation(old: &Object, new: &Object) -> bool {
    old.get("aggregationRule") == new.get("aggregationRule")
}

fn may(policy: &Policy, user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let target = Target::Resource(Resource {
        group: GROUP,
        version: "v1",
        resource,
        subresource: "",
        namespace,
        name,
    });
    policy.authorize(&Attributes { user, verb, target }).is_allowed()
}

/// Why the rules are more than the user holds; `None` if they are not.
fn grants_more(policy: &Policy, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Option<String> {
    let (held, errors) = policy.rules_for(user, namespace);
    let missing = uncovered(&held, wanted);
    if missing.is_empty() {
        return None;
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let mut why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.username,
        quoted(&user.groups),
        missing.join("\n")
    );
    if !errors.is_empty() {
        why = format!("{why}; resolution errors: [{}]", errors.join(", "));
    }
    Some(why)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(rules: &Value) -> Policy {
        let policy = Policy::default();
        policy.set(
            Kind::ClusterRole,
            &json!({"metadata": {"name": "mine"}, "rules": rules}),
        );
        let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        policy.set(Kind::ClusterRole, &json!({"metadata": {"name": "all"}, "rules": all}));
        policy.set(
            Kind::ClusterRoleBinding,
            &json!({"metadata": {"name": "mine"}, "roleRef": {"kind": "ClusterRole", "name": "mine"},
                "subjects": [{"kind": "User", "name": "bob"}]}),
        );
        policy
    }

    fn bob() -> UserInfo {
        UserInfo {
            username: "bob".into(),
            groups: vec!["devs".into()],
            ..UserInfo::default()
        }
    }

    fn role(resource: &str) -> Object {
        json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]})
    }

    #[test]
    fn a_role_may_not_exceed_what_its_writer_holds() {
        let policy = policy(&json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
        assert!(check(&policy, &bob(), Kind::ClusterRole, &role("pods"), None).is_ok());
        let refused = check(&policy, &bob(), Kind::ClusterRole, &role("secrets"), None).unwrap_err();
        assert_eq!(
            refused.message,
            "clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"bob\" (groups=[\"devs\"]) is attempting \
             to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
        );
        let mut labelled = role("secrets");
        meta::set_label(&mut labelled, "a", "b");
        assert!(check(&policy, &bob(), Kind::ClusterRole, &labelled, Some(&role("secrets"))).is_ok());
    }

    #[test]
    fn the_verbs_escalate_and_bind_lift_the_limit() {
        let rules = json!([{"verbs": ["escalate", "bind"], "apiGroups": [GROUP], "resources": ["clusterroles"]}]);
        let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "all"}});
        let policy = policy(&rules);
        assert!(check(&policy, &bob(), Kind::ClusterRole, &role("secrets"), None).is_ok());
        assert!(check(&policy, &bob(), Kind::ClusterRoleBinding, &binding, None).is_ok());
        let namespaced =
            json!({"metadata": {"name": "b", "namespace": "x"}, "roleRef": {"kind": "Role", "name": "no"}});
        assert_eq!(
            check(&policy, &bob(), Kind::RoleBinding, &namespaced, None)
                .unwrap_err()
                .code,
            404
        );
    }

    #[test]
    fn binding_needs_what_the_role_grants() {
        let policy = policy(&json!([]));
        let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "all"}});
        assert_eq!(
            check(&policy, &bob(), Kind::ClusterRoleBinding, &binding, None)
                .unwrap_err()
                .code,
            403
        );
        let admin = UserInfo {
            groups: vec![groups::MASTERS.into()],
            ..UserInfo::default()
        };
        assert!(check(&policy, &admin, Kind::ClusterRoleBinding, &binding, None).is_ok());
    }

    #[test]
    fn aggregation_is_for_cluster_admins() {
        let policy = policy(&json!([]));
        let object = json!({"metadata": {"name": "a"}, "aggregationRule": {"clusterRoleSelectors": []}});
        let refused = check(&policy, &bob(), Kind::ClusterRole, &object, None).unwrap_err();
        assert!(
            refused
                .message
                .ends_with("must have cluster-admin privileges to use the aggregationRule")
        );
    }
}
