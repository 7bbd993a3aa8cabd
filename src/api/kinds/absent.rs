//! Kinds that there are none of, but that clients look for.
//!
//! kubectl asks for CustomResourceDefinitions before it calls a kind unknown, of the federation as of a member.
//! kube-controller-manager starts no controller before it has listed all of these. They can be read and watched, and
//! there are none: what they would do is not done here, so nobody may believe that it is by creating one.

use crate::kind::{EVERYWHERE, KindDef, MEMBER};

const READ_ONLY: &[&str] = &["get", "list", "watch"];

const CLUSTER_SCOPED: KindDef = KindDef {
    verbs: READ_ONLY,
    profiles: MEMBER,
    ..KindDef::CLUSTER_SCOPED
};
const NAMESPACED: KindDef = KindDef {
    verbs: READ_ONLY,
    profiles: MEMBER,
    ..KindDef::NAMESPACED
};

/// IPAddress in `networking.k8s.io/v1`.
pub const IP_ADDRESS: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "IPAddress",
    resource: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    type_name: "io.k8s.api.networking.v1.IPAddress",
    ..CLUSTER_SCOPED
};

/// ServiceCIDR in `networking.k8s.io/v1`.
pub const SERVICE_CIDR: KindDef = KindDef {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    resource: "servicecidrs",
    singular: "servicecidr",
    type_name: "io.k8s.api.networking.v1.ServiceCIDR",
    ..CLUSTER_SCOPED
};

/// ResourceClaim in `resource.k8s.io/v1`.
pub const RESOURCE_CLAIM: KindDef = KindDef {
    group: "resource.k8s.io",
    kind: "ResourceClaim",
    resource: "resourceclaims",
    singular: "resourceclaim",
    type_name: "io.k8s.api.resource.v1.ResourceClaim",
    ..NAMESPACED
};

/// ResourceClaimTemplate in `resource.k8s.io/v1`.
pub const RESOURCE_CLAIM_TEMPLATE: KindDef = KindDef {
    group: "resource.k8s.io",
    kind: "ResourceClaimTemplate",
    resource: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    type_name: "io.k8s.api.resource.v1.ResourceClaimTemplate",
    ..NAMESPACED
};

/// DeviceClass in `resource.k8s.io/v1`.
pub const DEVICE_CLASS: KindDef = KindDef {
    group: "resource.k8s.io",
    kind: "DeviceClass",
    resource: "deviceclasses",
    singular: "deviceclass",
    type_name: "io.k8s.api.resource.v1.DeviceClass",
    ..CLUSTER_SCOPED
};

/// ResourceSlice in `resource.k8s.io/v1`.
pub const RESOURCE_SLICE: KindDef = KindDef {
    group: "resource.k8s.io",
    kind: "ResourceSlice",
    resource: "resourceslices",
    singular: "resourceslice",
    type_name: "io.k8s.api.resource.v1.ResourceSlice",
    ..CLUSTER_SCOPED
};

/// CertificateSigningRequest in `certificates.k8s.io/v1`.
pub const CERTIFICATE_SIGNING_REQUEST: KindDef = KindDef {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    resource: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    type_name: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    ..CLUSTER_SCOPED
};

/// VolumeAttachment in `storage.k8s.io/v1`.
pub const VOLUME_ATTACHMENT: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    resource: "volumeattachments",
    singular: "volumeattachment",
    type_name: "io.k8s.api.storage.v1.VolumeAttachment",
    ..CLUSTER_SCOPED
};

/// VolumeAttributesClass in `storage.k8s.io/v1`.
pub const VOLUME_ATTRIBUTES_CLASS: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    resource: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    type_name: "io.k8s.api.storage.v1.VolumeAttributesClass",
    ..CLUSTER_SCOPED
};

/// CSINode in `storage.k8s.io/v1`.
pub const CSI_NODE: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "CSINode",
    resource: "csinodes",
    singular: "csinode",
    type_name: "io.k8s.api.storage.v1.CSINode",
    ..CLUSTER_SCOPED
};

/// CSIDriver in `storage.k8s.io/v1`.
pub const CSI_DRIVER: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    resource: "csidrivers",
    singular: "csidriver",
    type_name: "io.k8s.api.storage.v1.CSIDriver",
    ..CLUSTER_SCOPED
};

/// CSIStorageCapacity in `storage.k8s.io/v1`.
pub const CSI_STORAGE_CAPACITY: KindDef = KindDef {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    resource: "csistoragecapacities",
    singular: "csistoragecapacity",
    type_name: "io.k8s.api.storage.v1.CSIStorageCapacity",
    ..NAMESPACED
};

/// ValidatingAdmissionPolicy in `admissionregistration.k8s.io/v1`.
pub const VALIDATING_ADMISSION_POLICY: KindDef = KindDef {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicy",
    resource: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    type_name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    ..CLUSTER_SCOPED
};

/// CustomResourceDefinition in `apiextensions.k8s.io/v1`.
pub const CUSTOM_RESOURCE_DEFINITION: KindDef = KindDef {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    resource: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    profiles: EVERYWHERE,
    type_name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ..CLUSTER_SCOPED
};
