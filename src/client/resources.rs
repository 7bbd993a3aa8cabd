//! The resources that more than one part of the federation reads or writes, each named once.

use crate::Resource;

const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        namespaced: true,
    }
}

const fn cluster_scoped(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Resource {
    Resource {
        namespaced: false,
        ..namespaced(group, version, kind, plural)
    }
}

/// Member clusters, in the federation API only.
pub const CLUSTERS: Resource = cluster_scoped("federation", "v1beta1", "Cluster", "clusters");
/// Namespaces.
pub const NAMESPACES: Resource = cluster_scoped("", "v1", "Namespace", "namespaces");
/// Nodes.
pub const NODES: Resource = cluster_scoped("", "v1", "Node", "nodes");
/// Pods.
pub const PODS: Resource = namespaced("", "v1", "Pod", "pods");
/// Configuration.
pub const CONFIG_MAPS: Resource = namespaced("", "v1", "ConfigMap", "configmaps");
/// Credentials.
pub const SECRETS: Resource = namespaced("", "v1", "Secret", "secrets");
/// Accounts of pods.
pub const SERVICE_ACCOUNTS: Resource = namespaced("", "v1", "ServiceAccount", "serviceaccounts");
/// Claims to volumes.
pub const VOLUME_CLAIMS: Resource = namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
/// Services.
pub const SERVICES: Resource = namespaced("", "v1", "Service", "services");
/// Events, in the form of the core group.
pub const EVENTS: Resource = namespaced("", "v1", "Event", "events");
/// ReplicaSets.
pub const REPLICA_SETS: Resource = namespaced("apps", "v1", "ReplicaSet", "replicasets");
/// Deployments.
pub const DEPLOYMENTS: Resource = namespaced("apps", "v1", "Deployment", "deployments");
/// DaemonSets.
pub const DAEMON_SETS: Resource = namespaced("apps", "v1", "DaemonSet", "daemonsets");
/// StatefulSets.
pub const STATEFUL_SETS: Resource = namespaced("apps", "v1", "StatefulSet", "statefulsets");
/// Jobs.
pub const JOBS: Resource = namespaced("batch", "v1", "Job", "jobs");
/// CronJobs.
pub const CRON_JOBS: Resource = namespaced("batch", "v1", "CronJob", "cronjobs");
/// Autoscalers.
pub const AUTOSCALERS: Resource = namespaced(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
);
/// PodDisruptionBudgets.
pub const DISRUPTION_BUDGETS: Resource = namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
/// Endpoints of Services.
pub const ENDPOINT_SLICES: Resource = namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
/// Leases.
pub const LEASES: Resource = namespaced("coordination.k8s.io", "v1", "Lease", "leases");
/// Which pods may talk to which.
pub const NETWORK_POLICIES: Resource = namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies");
/// Priorities of pods.
pub const PRIORITY_CLASSES: Resource = cluster_scoped("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");
/// Ingresses.
pub const INGRESSES: Resource = namespaced("networking.k8s.io", "v1", "Ingress", "ingresses");
/// Who serves which Ingresses.
pub const INGRESS_CLASSES: Resource = cluster_scoped("networking.k8s.io", "v1", "IngressClass", "ingressclasses");
