//! Fields that are not owned: what the server fills in, and what an endpoint ignores.

use std::sync::LazyLock;

use super::set::FieldSet;
use crate::schema::Schema;

static SYSTEM: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut set = FieldSet::of_fields(&[&["apiVersion"], &["kind"], &["metadata"]]);
    for name in metadata {
        set.extend(&FieldSet::of_fields(&[&["metadata", name]]));
    }
    set
});

/// Identity and bookkeeping: never owned by anyone.
pub(super) fn system_fields() -> &'static FieldSet {
    &SYSTEM
}

/// The fields that an endpoint resets, so that writing them there owns nothing: the status on the main resource,
/// the spec (and some metadata) on `/status`.
pub(super) fn reset_fields(type_name: &str, subresource: &str) -> FieldSet {
    let has = |name: &str| {
        Schema::global()
            .type_by_name(type_name)
            .is_some_and(|ty| ty.field(name).is_some())
    };
    match (subresource, type_name.rsplit('.').next()) {
        ("", Some("Event")) => FieldSet::default(),
        ("" | "finalize", _) if has("status") => FieldSet::of_fields(&[&["status"]]),
        ("status", Some("Deployment")) => FieldSet::of_fields(&[&["spec"], &["metadata", "labels"]]),
        ("status", Some("Pod")) => FieldSet::of_fields(&[
            &["spec"],
            &["metadata", "deletionTimestamp"],
            &["metadata", "ownerReferences"],
        ]),
        ("status", _) => FieldSet::of_fields(&[&["spec"]]),
        _ => FieldSet::default(),
    }
}
