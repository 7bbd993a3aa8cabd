//! LimitRange: stored, not enforced.

use crate::kind::{CREATED_AT, CreatedAt, KindDef, MEMBER};

/// LimitRange in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "LimitRange",
    resource: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    type_name: "io.k8s.api.core.v1.LimitRange",
    profiles: MEMBER,
    create_on_update: true,
    columns: CREATED_AT,
    strategy: &CreatedAt,
    ..KindDef::NAMESPACED
};
