//! What the fields mean, for `kubectl explain`.
//!
//! The Kubernetes types' descriptions are those that `k8s-openapi` carries in its schemas;
//! they are taken from there when the documents are built. The federation's own are here.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

static UPSTREAM: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let mut generator = SchemaSettings::openapi3().into_generator();
    upstream(&mut generator);
    generator.take_definitions(false)
});

macro_rules! roots {
    ($generator:ident: $($root:ty),* $(,)?) => { $( $generator.subschema_for::<$root>(); )* };
}

/// Registers every root kind; what they refer to follows by itself.
fn upstream(generator: &mut SchemaGenerator) {
    use k8s_openapi::api::{
        apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
        coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
        networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
        storage::v1 as storage,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
    roots!(generator:
        core::Namespace, core::ConfigMap, core::Secret, core::Service, core::Event, core::ServiceAccount, core::Pod, core::Node, core::Endpoints,
        core::PersistentVolume, core::PersistentVolumeClaim, core::ResourceQuota, core::LimitRange, core::ReplicationController, core::Binding,
        core::PodTemplate, apps::ReplicaSet, apps::Deployment, apps::DaemonSet, apps::StatefulSet, apps::ControllerRevision,
        networking::Ingress, networking::IngressClass, networking::NetworkPolicy, batch::Job, batch::CronJob, autoscaling::Scale,
        autoscaling::HorizontalPodAutoscaler, autoscaling_v2::HorizontalPodAutoscaler, discovery::EndpointSlice, rbac::Role, rbac::ClusterRole,
        rbac::RoleBinding, rbac::ClusterRoleBinding, coordination::Lease, policy::PodDisruptionBudget, policy::Eviction, storage::StorageClass,
        scheduling::PriorityClass, events::Event, authentication::TokenReview, authentication::TokenRequest, authentication::SelfSubjectReview,
        authorization::SubjectAccessReview, authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview, meta::DeleteOptions, meta::Status, meta::APIResourceList, meta::ListMeta,
    );
}

/// The federation's own types and what `extensions/v1beta1` alone has: the type's last name, the
/// field (empty for the type), the sentence.
const OWN: &[(&str, &str, &str)] = &[
    (
        "Cluster",
        "",
        "Cluster is a member cluster that has joined the federation.",
    ),
    ("Cluster", "kind", "Always Cluster."),
    ("Cluster", "apiVersion", "Always federation/v1beta1."),
    (
        "Cluster",
        "metadata",
        "Name, labels and the like; cluster selectors and preferences refer to both.",
    ),
    (
        "Cluster",
        "spec",
        "How to reach the cluster, where it is, and what may be placed there.",
    ),
    (
        "Cluster",
        "status",
        "What the federation last saw of the cluster; written by the cluster controller.",
    ),
    (
        "ClusterSpec",
        "",
        "ClusterSpec says how to reach a member cluster, where it is, and what may be placed there.",
    ),
    (
        "ClusterSpec",
        "serverAddressByClientCIDRs",
        "Addresses of the cluster's API server, by the network of the client that asks.",
    ),
    (
        "ClusterSpec",
        "secretRef",
        "Secret in the federation's system namespace that holds the credentials for the cluster.",
    ),
    (
        "ClusterSpec",
        "location",
        "Where the cluster stands. Without it the region's own place is taken.",
    ),
    (
        "ClusterSpec",
        "region",
        "Region of the cluster. Without it the region of its nodes is taken.",
    ),
    (
        "ClusterSpec",
        "zones",
        "Zones of the cluster. Without them the zones of its nodes are taken.",
    ),
    (
        "ClusterSpec",
        "taints",
        "Taints keep objects away whose preferences do not tolerate them.",
    ),
    (
        "ClusterSpec",
        "unschedulable",
        "Nothing new is placed in an unschedulable cluster; what is there stays.",
    ),
    (
        "ClusterSpec",
        "capacity",
        "What the federation may use of the cluster. Without it all that its nodes have.",
    ),
    (
        "ServerAddressByClientCIDR",
        "",
        "ServerAddressByClientCIDR names the address that clients of a network shall use.",
    ),
    (
        "ServerAddressByClientCIDR",
        "clientCIDR",
        "Network of the client, as 0.0.0.0/0.",
    ),
    (
        "ServerAddressByClientCIDR",
        "serverAddress",
        "Address of the API server, as https://10.0.0.1:6443.",
    ),
    ("ClusterLocation", "", "ClusterLocation is a place on Earth."),
    (
        "ClusterLocation",
        "latitude",
        "Degrees north of the equator, -90 to 90.",
    ),
    (
        "ClusterLocation",
        "longitude",
        "Degrees east of Greenwich, -180 to 180.",
    ),
    (
        "ClusterStatus",
        "",
        "ClusterStatus is what the federation last saw of a member cluster.",
    ),
    (
        "ClusterStatus",
        "conditions",
        "Whether the cluster is ready or offline, and why.",
    ),
    ("ClusterStatus", "zones", "Zones of the cluster's nodes."),
    ("ClusterStatus", "region", "Region of the cluster's nodes."),
    ("ClusterStatus", "version", "Kubernetes version of the cluster."),
    ("ClusterStatus", "nodes", "Number of ready nodes."),
    ("ClusterStatus", "capacity", "Sum of what the nodes have."),
    ("ClusterStatus", "allocatable", "Sum of what the nodes offer to pods."),
    ("ClusterStatus", "requested", "Sum of what the pods ask for."),
    (
        "ClusterCondition",
        "",
        "ClusterCondition is one aspect of a member cluster's state.",
    ),
    ("ClusterCondition", "type", "Aspect: Ready or Offline."),
    ("ClusterCondition", "status", "True, False or Unknown."),
    ("ClusterCondition", "lastProbeTime", "When it was last looked at."),
    ("ClusterCondition", "lastTransitionTime", "When it last changed."),
    ("ClusterCondition", "reason", "Why, in one word."),
    ("ClusterCondition", "message", "Why, in words."),
    (
        "DaemonSetSpec",
        "templateGeneration",
        "Version of the template; grows with every change of it.",
    ),
    (
        "DeploymentSpec",
        "rollbackTo",
        "Revision to go back to; cleared once that is done.",
    ),
    (
        "RollbackConfig",
        "",
        "RollbackConfig names the revision that a Deployment goes back to.",
    ),
    (
        "RollbackConfig",
        "revision",
        "Number of the revision; 0 means the last one.",
    ),
    (
        "IngressBackend",
        "serviceName",
        "Name of the Service that requests go to.",
    ),
    (
        "IngressBackend",
        "servicePort",
        "Port of the Service, by number or name.",
    ),
];

/// What a type is (`field` empty) or what its field means.
pub(super) fn of(type_name: &str, field: &str) -> Option<String> {
    let old = type_name.strip_prefix("io.k8s.api.extensions.v1beta1.");
    let own = type_name.strip_prefix("io.k8s.federation.v1beta1.").or(old);
    let sentence = own.and_then(|short| OWN.iter().find(|(ty, name, _)| *ty == short && *name == field));
    if let Some((_, _, text)) = sentence {
        return Some((*text).to_owned());
    }
    let schema = UPSTREAM.get(type_name).or_else(|| successor(old?))?;
    let holder = if field.is_empty() {
        schema
    } else {
        schema.get("properties")?.get(field)?
    };
    holder.get("description").and_then(Value::as_str).map(ToOwned::to_owned)
}

/// The type that took the place of one of `extensions/v1beta1`.
fn successor(short: &str) -> Option<&'static Value> {
    ["apps", "networking"]
        .iter()
        .find_map(|group| UPSTREAM.get(&format!("io.k8s.api.{group}.v1.{short}")))
}
