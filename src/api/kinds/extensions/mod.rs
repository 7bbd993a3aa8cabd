//! `extensions/v1beta1`: the group the original federation served, converted to today's kinds, so that manifests of
//! that time load.

mod ingress;
mod workloads;

use crate::{
    kind::{KindDef, Profile},
    kinds::{apps, networking},
};

const FEDERATION: &[Profile] = &[Profile::Federation];

/// Deployment in `extensions/v1beta1`, stored as `apps/v1`.
pub const DEPLOYMENT: KindDef = KindDef {
    group: "extensions",
    version: "v1beta1",
    profiles: FEDERATION,
    // No short names: they mean the kinds of today.
    short_names: &[],
    categories: &[],
    type_name: "io.k8s.api.extensions.v1beta1.Deployment",
    conversion: Some(&workloads::DEPLOYMENT),
    strategy: &workloads::DeploymentDefaults,
    ..apps::deployment::DEF
};

/// ReplicaSet in `extensions/v1beta1`, stored as `apps/v1`.
pub const REPLICA_SET: KindDef = KindDef {
    group: "extensions",
    version: "v1beta1",
    profiles: FEDERATION,
    // No short names: they mean the kinds of today.
    short_names: &[],
    categories: &[],
    type_name: "io.k8s.api.extensions.v1beta1.ReplicaSet",
    conversion: Some(&workloads::REPLICA_SET),
    strategy: &workloads::ReplicaSetDefaults,
    ..apps::replica_set::DEF
};

/// DaemonSet in `extensions/v1beta1`, stored as `apps/v1`.
pub const DAEMON_SET: KindDef = KindDef {
    group: "extensions",
    version: "v1beta1",
    profiles: FEDERATION,
    // No short names: they mean the kinds of today.
    short_names: &[],
    categories: &[],
    type_name: "io.k8s.api.extensions.v1beta1.DaemonSet",
    conversion: Some(&workloads::DAEMON_SET),
    strategy: &workloads::DaemonSetDefaults,
    ..apps::daemon_set::DEF
};

/// Ingress in `extensions/v1beta1`, stored as `networking.k8s.io/v1`.
pub const INGRESS: KindDef = KindDef {
    group: "extensions",
    version: "v1beta1",
    profiles: FEDERATION,
    // No short names: they mean the kinds of today.
    short_names: &[],
    categories: &[],
    type_name: "io.k8s.api.extensions.v1beta1.Ingress",
    conversion: Some(&ingress::CONVERSION),
    strategy: &ingress::Defaults,
    ..networking::ingress::DEF
};
