//! `rbac.authorization.k8s.io/v1`: roles and their bindings.

mod validate;

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{default_zero, empty, items, items_mut, map_mut, remove, text},
    kind::{CREATED_AT, Column, KindDef, Strategy},
    printers,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// ClusterRole in `rbac.authorization.k8s.io/v1`.
pub const CLUSTER_ROLE: KindDef = KindDef {
    group: GROUP,
    kind: "ClusterRole",
    resource: "clusterroles",
    singular: "clusterrole",
    type_name: "io.k8s.api.rbac.v1.ClusterRole",
    create_on_update: true,
    columns: CREATED_AT,
    strategy: &Role { namespaced: false },
    ..KindDef::CLUSTER_SCOPED
};

/// Role in `rbac.authorization.k8s.io/v1`.
pub const ROLE: KindDef = KindDef {
    group: GROUP,
    kind: "Role",
    resource: "roles",
    singular: "role",
    type_name: "io.k8s.api.rbac.v1.Role",
    create_on_update: true,
    columns: CREATED_AT,
    strategy: &Role { namespaced: true },
    ..KindDef::NAMESPACED
};

/// ClusterRoleBinding in `rbac.authorization.k8s.io/v1`.
pub const CLUSTER_ROLE_BINDING: KindDef = KindDef {
    group: GROUP,
    kind: "ClusterRoleBinding",
    resource: "clusterrolebindings",
    singular: "clusterrolebinding",
    type_name: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    create_on_update: true,
    columns: BINDING_COLUMNS,
    strategy: &Binding { namespaced: false },
    ..KindDef::CLUSTER_SCOPED
};

/// RoleBinding in `rbac.authorization.k8s.io/v1`.
pub const ROLE_BINDING: KindDef = KindDef {
    group: GROUP,
    kind: "RoleBinding",
    resource: "rolebindings",
    singular: "rolebinding",
    type_name: "io.k8s.api.rbac.v1.RoleBinding",
    create_on_update: true,
    columns: BINDING_COLUMNS,
    strategy: &Binding { namespaced: true },
    ..KindDef::NAMESPACED
};

const BINDING_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Role", "The role that is given."),
    Column::age(),
    Column::text("Users", "Users it is given to.").wide(),
    Column::text("Groups", "Groups it is given to.").wide(),
    Column::text("ServiceAccounts", "ServiceAccounts it is given to.").wide(),
];

struct Role {
    namespaced: bool,
}

impl Strategy for Role {
    fn default(&self, object: &mut Object) {
        if empty(&object["rules"]) {
            remove(object, "rules");
        }
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment_name(name)
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::role(object, self.namespaced)
    }

    fn row(&self, object: &Object, _now: jiff::Timestamp) -> Vec<Value> {
        printers::created_at(object)
    }
}

struct Binding {
    namespaced: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Object) {
        default_zero(map_mut(object, "roleRef"), "apiGroup", GROUP);
        for subject in items_mut(object, "subjects") {
            if matches!(text(&subject["kind"]), "User" | "Group") {
                default_zero(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment_name(name)
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::binding(object, self.namespaced)
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        if object["roleRef"] != old["roleRef"] {
            errors.push(validate::changed_role(object));
        }
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let role = &object["roleRef"];
        let subjects = |kind: &str| {
            let matching = items(&object["subjects"]).iter().filter(|s| s["kind"] == kind);
            let shown = matching.map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", text(&s["namespace"]), text(&s["name"])),
                _ => text(&s["name"]).to_owned(),
            });
            Value::from(shown.collect::<Vec<_>>().join(", "))
        };
        vec![
            printers::name(object),
            format!("{}/{}", text(&role["kind"]), text(&role["name"])).into(),
            printers::age(object, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    }
}
