//! Fields that Go structs have from structs they embed: the JSON of an object does not show where they come from, but
//! the errors of Go's decoder do.

/// Sources of volumes, as a PersistentVolume has them.
const VOLUME_SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// The embedded struct that a field of a Go type belongs to, if it is not the type's own.
pub(super) fn struct_of(type_name: &str, field: &str) -> Option<&'static str> {
    match (type_name, field) {
        ("Volume", field) if field != "name" => Some("VolumeSource"),
        ("PersistentVolumeSpec", field) if VOLUME_SOURCES.contains(&field) => Some("PersistentVolumeSource"),
        ("Probe", "exec" | "httpGet" | "tcpSocket" | "grpc") => Some("ProbeHandler"),
        ("EphemeralContainer", field) if field != "targetContainerName" => Some("EphemeralContainerCommon"),
        (
            "ConfigMapEnvSource"
            | "SecretEnvSource"
            | "ConfigMapKeySelector"
            | "SecretKeySelector"
            | "ConfigMapVolumeSource"
            | "ConfigMapProjection"
            | "SecretProjection",
            "name",
        ) => Some("LocalObjectReference"),
        ("IngressRule", "http") => Some("IngressRuleValue"),
        _ => None,
    }
}
