//! The escalation check of RBAC as part of admission.

use apimachinery::{Object, status::Status};

use crate::{
    authz::{
        escalation,
        rbac::{GROUP, Kind},
    },
    registry::{Registry, write::Write},
};

/// Refuses a role or binding that grants more than its writer holds. Other kinds pass.
///
/// # Errors
/// 403, or 404 for a binding to a role that is not there.
pub(crate) fn check(
    registry: &Registry,
    write: &Write<'_>,
    object: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let Some(policy) = registry.policy.get().filter(|_| write.resource.def.group == GROUP) else {
        return Ok(());
    };
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.resource() == write.resource.def.resource);
    kind.map_or(Ok(()), |kind| escalation::check(policy, write.user, kind, object, old))
}
