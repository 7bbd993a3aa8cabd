//! Every served kind. A kind is added here and in its own module, nowhere else.

pub mod absent;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod extensions;
pub mod federation;
pub mod networking;
pub mod policy;
pub mod rbac;
pub mod reviews;
pub mod scheduling;
pub mod storage;

use crate::kind::{KindDef, Profile};

/// Every kind, in the order of discovery: the core group first, then groups by name.
#[must_use]
pub fn all() -> &'static [KindDef] {
    KINDS
}

/// The kind with this group, version and plural resource name.
#[must_use]
pub fn by_resource(group: &str, version: &str, resource: &str) -> Option<&'static KindDef> {
    KINDS
        .iter()
        .find(|k| k.group == group && k.version == version && k.resource == resource)
}

/// The kind with this group, version and kind.
#[must_use]
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static KindDef> {
    KINDS
        .iter()
        .find(|k| k.group == group && k.version == version && k.kind == kind)
}

/// The kind an object of this one is stored as: itself, unless it is converted.
#[must_use]
pub fn storage_of(kind: &'static KindDef) -> &'static KindDef {
    match kind.conversion {
        Some(c) => by_kind(c.group, c.version, kind.kind).unwrap_or(kind),
        None => kind,
    }
}

/// The kinds one of the two API servers serves.
pub fn of_profile(profile: Profile) -> impl Iterator<Item = &'static KindDef> {
    KINDS.iter().filter(move |k| k.profiles.contains(&profile))
}

/// In kube-apiserver's order of groups: clients resolve a name that several groups have to the first of them, so the
/// groups that only this API has, and above all the one that is deprecated, come last.
const KINDS: &[KindDef] = &[
    core::config_map::DEF,
    core::endpoints::DEF,
    core::event::DEF,
    core::limit_range::DEF,
    core::namespace::DEF,
    core::node::DEF,
    core::persistent_volume_claim::DEF,
    core::persistent_volume::DEF,
    core::pod::DEF,
    core::pod_template::DEF,
    core::replication_controller::DEF,
    core::resource_quota::DEF,
    core::secret::DEF,
    core::service_account::DEF,
    core::service::DEF,
    apps::controller_revision::DEF,
    apps::daemon_set::DEF,
    apps::deployment::DEF,
    apps::replica_set::DEF,
    apps::stateful_set::DEF,
    events::DEF,
    reviews::SELF_SUBJECT,
    reviews::TOKEN,
    reviews::LOCAL_SUBJECT_ACCESS,
    reviews::SELF_SUBJECT_ACCESS,
    reviews::SELF_SUBJECT_RULES,
    reviews::SUBJECT_ACCESS,
    autoscaling::V2,
    autoscaling::V1,
    batch::cron_job::DEF,
    batch::job::DEF,
    absent::CERTIFICATE_SIGNING_REQUEST,
    networking::ingress_class::DEF,
    networking::ingress::DEF,
    absent::IP_ADDRESS,
    networking::network_policy::DEF,
    absent::SERVICE_CIDR,
    policy::DEF,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::CLUSTER_ROLE,
    rbac::ROLE_BINDING,
    rbac::ROLE,
    absent::CSI_DRIVER,
    absent::CSI_NODE,
    absent::CSI_STORAGE_CAPACITY,
    storage::DEF,
    absent::VOLUME_ATTACHMENT,
    absent::VOLUME_ATTRIBUTES_CLASS,
    absent::VALIDATING_ADMISSION_POLICY,
    absent::CUSTOM_RESOURCE_DEFINITION,
    scheduling::DEF,
    coordination::DEF,
    discovery::DEF,
    absent::DEVICE_CLASS,
    absent::RESOURCE_CLAIM,
    absent::RESOURCE_CLAIM_TEMPLATE,
    absent::RESOURCE_SLICE,
    federation::DEF,
    extensions::DAEMON_SET,
    extensions::DEPLOYMENT,
    extensions::INGRESS,
    extensions::REPLICA_SET,
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;

    #[test]
    fn every_kind_is_complete_and_served_once() {
        let mut seen = HashSet::new();
        for kind in all() {
            assert!(
                seen.insert((kind.group, kind.version, kind.resource)),
                "{} twice",
                kind.resource
            );
            for text in [kind.version, kind.kind, kind.resource, kind.singular, kind.type_name] {
                assert!(!text.is_empty(), "{}: an identity is missing", kind.kind);
            }
            assert_eq!(kind.kind.to_lowercase(), kind.singular);
            assert_eq!(
                kind.columns.iter().filter(|c| c.format == "name").count(),
                1,
                "{}",
                kind.kind
            );
            let storage = storage_of(kind);
            assert!(
                storage.conversion.is_none(),
                "{}: its storage kind is converted itself",
                kind.kind
            );
            assert_eq!(storage.kind, kind.kind);
        }
    }

    #[test]
    fn rows_have_a_cell_per_column_even_for_an_empty_object() {
        for kind in all().iter().filter(|k| k.conversion.is_none()) {
            let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x"}});
            let rows = [kind.strategy.row(&object, jiff::Timestamp::UNIX_EPOCH), {
                kind.strategy.default(&mut object);
                kind.strategy.row(&object, jiff::Timestamp::UNIX_EPOCH)
            }];
            for row in rows {
                assert_eq!(row.len(), kind.columns.len(), "{}", kind.kind);
            }
            assert_eq!(
                kind.strategy.selectable_values(&object).len(),
                kind.selectable_fields.len(),
                "{}",
                kind.kind
            );
        }
    }

    #[test]
    fn hostile_shapes_never_panic() {
        let shapes = [
            json!(null),
            json!(1),
            json!("x"),
            json!([]),
            json!([null, 1]),
            json!({}),
            json!({"a": [1]}),
        ];
        for kind in all() {
            for spec in &shapes {
                for field in ["spec", "status", "data", "metadata", "template", "subjects"] {
                    let mut object = json!({"metadata": {"name": "x"}});
                    object[field] = spec.clone();
                    let old = object.clone();
                    kind.strategy.default(&mut object);
                    kind.strategy.prepare_for_create(&mut object);
                    kind.strategy.validate(&object);
                    kind.strategy.warnings(&object, Some(&old));
                    kind.strategy.prepare_for_update(&mut object, &old);
                    kind.strategy.validate_update(&object, &old);
                    kind.strategy.prepare_for_status_update(&mut object, &old);
                    kind.strategy.validate_status_update(&object, &old);
                    kind.strategy.row(&object, jiff::Timestamp::UNIX_EPOCH);
                }
            }
        }
    }
}
