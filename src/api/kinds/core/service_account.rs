//! ServiceAccount.

use crate::kind::{KindDef, Plain, Subresource};

/// ServiceAccount in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "ServiceAccount",
    answers_deleted: true,
    resource: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &[Subresource::Other("token")],
    type_name: "io.k8s.api.core.v1.ServiceAccount",
    strategy: &Plain,
    ..KindDef::NAMESPACED
};
