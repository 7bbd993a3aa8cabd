//! Defaults of volumes.

use serde_json::{Value, json};

use super::container::{field_ref, pull_policy};
use crate::json::{default_to, default_zero, items_mut, text};

/// Permissions of files made from Secrets, ConfigMaps, fields and projections: 0644.
const FILE_MODE: i64 = 0o644;

/// Fills in the defaults of a volume; one without a source is an empty directory.
pub(crate) fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if map.iter().all(|(key, value)| key == "name" || value.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for (source, value) in map.iter_mut().filter(|(_, value)| value.is_object()) {
        self::source(source, value);
    }
}

fn source(kind: &str, source: &mut Value) {
    match kind {
        "secret" | "configMap" => default_to(source, "defaultMode", FILE_MODE),
        "downwardAPI" => {
            default_to(source, "defaultMode", FILE_MODE);
            items_mut(source, "items").for_each(field_ref);
        }
        "projected" => {
            default_to(source, "defaultMode", FILE_MODE);
            items_mut(source, "sources").for_each(projection);
        }
        "hostPath" => default_to(source, "type", ""),
        "image" => {
            let policy = pull_policy(text(&source["reference"]));
            default_zero(source, "pullPolicy", policy);
        }
        "ephemeral" => {
            if let Some(spec) = source.get_mut("volumeClaimTemplate").and_then(|t| t.get_mut("spec")) {
                default_to(spec, "volumeMode", "Filesystem");
            }
        }
        _ => storage(kind, source),
    }
}

/// Defaults of sources that are storage systems; PersistentVolumes have them too.
pub(crate) fn storage(kind: &str, source: &mut Value) {
    match kind {
        "iscsi" => default_zero(source, "iscsiInterface", "default"),
        "rbd" => {
            default_zero(source, "pool", "rbd");
            default_zero(source, "user", "admin");
            default_zero(source, "keyring", "/etc/ceph/keyring");
        }
        "azureDisk" => {
            default_to(source, "cachingMode", "ReadWrite");
            default_to(source, "fsType", "ext4");
            default_to(source, "readOnly", false);
            default_to(source, "kind", "Shared");
        }
        "scaleIO" => {
            default_zero(source, "storageMode", "ThinProvisioned");
            default_zero(source, "fsType", "xfs");
        }
        "hostPath" => default_to(source, "type", ""),
        _ => {}
    }
}

fn projection(source: &mut Value) {
    if let Some(token) = source.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
        default_to(token, "expirationSeconds", 3600);
    }
    if let Some(fields) = source.get_mut("downwardAPI") {
        items_mut(fields, "items").for_each(field_ref);
    }
}
