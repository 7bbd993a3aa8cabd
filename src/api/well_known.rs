//! Annotations, labels, finalizers and field managers that users and processes agree on.

/// How a ReplicaSet is split over clusters: JSON, v1's format.
pub const REPLICA_SET_PREFERENCES: &str = "federation.kubernetes.io/replica-set-preferences";
/// How a Deployment is split over clusters.
pub const DEPLOYMENT_PREFERENCES: &str = "federation.kubernetes.io/deployment-preferences";
/// How a Job is split over clusters.
pub const JOB_PREFERENCES: &str = "federation.kubernetes.io/job-preferences";
/// How a StatefulSet is split over clusters.
pub const STATEFUL_SET_PREFERENCES: &str = "federation.kubernetes.io/stateful-set-preferences";
/// How the limits of a HorizontalPodAutoscaler are split over clusters.
pub const HPA_PREFERENCES: &str = "federation.kubernetes.io/hpa-preferences";
/// Which clusters an object goes to: JSON list of requirements on Cluster labels.
pub const CLUSTER_SELECTOR: &str = "federation.alpha.kubernetes.io/cluster-selector";
/// JSON Patches per cluster selector.
pub const OVERRIDES: &str = "federation.kubernetes.io/overrides";
/// `"true"` on a Deployment: roll it out again when a ConfigMap or Secret it refers to changes.
pub const ROLLOUT_ON_CONFIG_CHANGE: &str = "federation.kubernetes.io/rollout-on-config-change";
/// `"true"` on a federated object: take over objects of its name that already are in members.
pub const ADOPT: &str = "federation.kubernetes.io/adopt";
/// Label on everything that is written to a member; the value is [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "federation.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "federation";
/// Annotation on everything that is written to a member: uid of the federation (of its `kube-system` namespace).
pub const FEDERATION_UID: &str = "federation.kubernetes.io/federation-uid";
/// Annotation on everything that is written to a member: hash of what was applied.
pub const APPLIED_HASH: &str = "federation.kubernetes.io/applied-hash";
/// Annotation on federated objects: per-cluster status as JSON.
pub const CLUSTER_STATUS: &str = "federation.kubernetes.io/cluster-status";
/// Finalizer: delete the copies in members before the federated object goes.
pub const FINALIZER_DELETE_FROM_CLUSTERS: &str = "federation.kubernetes.io/delete-from-underlying-clusters";
/// Finalizer of the API: leave dependents behind.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Finalizer of the API: dependents go first.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Field manager of everything that is written to members.
pub const FIELD_MANAGER: &str = "federation";
/// Label of EndpointSlices: the member cluster its endpoints are in.
pub const LABEL_CLUSTER: &str = "federation.kubernetes.io/cluster";
/// Label: the Service an EndpointSlice belongs to.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label and node label: the region.
pub const LABEL_REGION: &str = "topology.kubernetes.io/region";
/// Label and node label: the zone.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";
/// Namespace of the control plane in the host cluster, and of cluster credentials.
pub const SYSTEM_NAMESPACE: &str = "federation-system";
/// Key of the taint that a cordoned Cluster counts as having, with effect `NoSchedule`.
pub const TAINT_UNSCHEDULABLE: &str = "federation.kubernetes.io/unschedulable";
/// Key of the taint on a Cluster that is being drained: `NoSchedule` while its traffic goes, then `NoExecute`.
pub const TAINT_DRAINING: &str = "federation.kubernetes.io/draining";
/// Key of the taint on a Cluster that is about to leave the federation: its objects stay as they are, not counted on.
pub const TAINT_LEAVING: &str = "federation.kubernetes.io/leaving";
