//! Volumes, and where containers mount them.

use std::collections::{BTreeMap, HashSet};

use apimachinery::{field::ErrorList, names};
use serde_json::Value;

use super::{At, container::field_ref, pod_spec::Place, resources};

/// Longest name of a CSI driver.
const MAX_DRIVER_LENGTH: usize = 63;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Kinds of volumes in the order in which kube-apiserver looks for them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Errors of `spec.volumes`; answers the good ones by name.
pub(crate) fn volumes<'a>(at: &At<'a>, place: Place, errors: &mut ErrorList) -> BTreeMap<&'a str, &'a Value> {
    let mut good: BTreeMap<&str, &Value> = BTreeMap::new();
    for volume in at.items() {
        let before = errors.len();
        source(&volume, errors);
        let image = volume.key("image");
        if place == Place::Pod && image.is_set() && image.key("reference").text().is_empty() {
            errors.push(image.key("reference").required(""));
        }
        let name = volume.key("name");
        super::required_text(&name, names::dns1123_label, errors);
        if good.contains_key(name.text()) {
            errors.push(name.duplicate());
        }
        if errors.len() == before {
            good.insert(name.text(), volume.value);
        }
    }
    good
}

fn source(volume: &At<'_>, errors: &mut ErrorList) {
    let mut found = false;
    for kind in SOURCES {
        let source = volume.key(kind);
        if !source.is_set() {
            continue;
        }
        if found {
            errors.push(source.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        one_source(kind, &source, errors);
    }
    if !found {
        errors.push(volume.required("must specify a volume type"));
    }
}

fn one_source(kind: &str, at: &At<'_>, errors: &mut ErrorList) {
    let required = |names: &[&str], errors: &mut ErrorList| {
        for name in names.iter().map(|name| at.key(name)).filter(At::is_empty) {
            errors.push(name.required(""));
        }
    };
    match kind {
        "emptyDir" if resources::quantity(&at.value["sizeLimit"]).is_some_and(|limit| limit.sign() < 0) => {
            errors.push(
                at.key("sizeLimit")
                    .forbidden("SizeLimit field must be a valid resource quantity"),
            );
        }
        "hostPath" => host_path(at, errors),
        "secret" | "configMap" => {
            required(&[if kind == "secret" { "secretName" } else { "name" }], errors);
            mode(&at.key("defaultMode"), errors);
            at.key("items").items().for_each(|item| key_to_path(&item, errors));
        }
        "persistentVolumeClaim" => required(&["claimName"], errors),
        "nfs" => {
            required(&["server", "path"], errors);
            if !at.key("path").text().starts_with('/') {
                let path = at.key("path");
                errors.push(path.invalid_value(&path.text().into(), "must be an absolute path"));
            }
        }
        "downwardAPI" => {
            mode(&at.key("defaultMode"), errors);
            at.key("items")
                .items()
                .for_each(|item| downward_item(&At::new(item.value, at.path.as_str()), errors));
        }
        "projected" => projected(at, errors),
        "csi" => {
            required(&["driver"], errors);
            let driver = at.key("driver");
            if driver.text().len() > MAX_DRIVER_LENGTH {
                errors.push(driver.too_long(MAX_DRIVER_LENGTH));
            }
            if !driver.text().is_empty() {
                let problems = names::dns1123_subdomain(&driver.text().to_lowercase());
                errors.extend(problems.iter().map(|problem| driver.invalid(problem)));
            }
        }
        "ephemeral" => {
            let template = at.key("volumeClaimTemplate");
            if template.is_set() {
                super::volume_claim::spec(&template.key("spec"), errors);
            } else {
                errors.push(template.required(""));
            }
        }
        "image" => super::one_of(&at.key("pullPolicy"), &["Always", "IfNotPresent", "Never"], errors),
        "gitRepo" => {
            required(&["repository"], errors);
            local_descending(&at.key("directory"), errors);
        }
        "gcePersistentDisk" => required(&["pdName"], errors),
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => required(&["volumeID"], errors),
        "iscsi" => required(&["targetPortal", "iqn"], errors),
        "glusterfs" => required(&["endpoints", "path"], errors),
        "rbd" => required(&["monitors", "image"], errors),
        "cephfs" => required(&["monitors"], errors),
        "quobyte" => required(&["registry", "volume"], errors),
        "flexVolume" => required(&["driver"], errors),
        "azureFile" => required(&["secretName", "shareName"], errors),
        "vsphereVolume" => required(&["volumePath"], errors),
        "photonPersistentDisk" => required(&["pdID"], errors),
        "azureDisk" => required(&["diskName", "diskURI"], errors),
        "scaleIO" => required(&["gateway", "system", "volumeName"], errors),
        _ => {}
    }
}

/// Errors of a path on the node.
pub(crate) fn host_path(at: &At<'_>, errors: &mut ErrorList) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let path = at.key("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
        return;
    }
    no_backsteps(&path, errors);
    super::one_of_if_set(&at.key("type"), TYPES, errors);
}

fn mode(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_set() && !(0..=0o777).contains(&at.int()) {
        errors.push(at.invalid(MODE));
    }
}

fn key_to_path(at: &At<'_>, errors: &mut ErrorList) {
    for name in ["key", "path"] {
        if at.key(name).text().is_empty() {
            errors.push(at.key(name).required(""));
        }
    }
    local_path(&at.key("path"), errors);
    mode(&at.key("mode"), errors);
}

/// Fields of the pod that files may have, sorted.
const FILE_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

fn downward_item(at: &At<'_>, errors: &mut ErrorList) {
    if at.key("path").text().is_empty() {
        errors.push(at.key("path").required(""));
    }
    local_path(&at.key("path"), errors);
    let (field, resource) = (at.key("fieldRef"), at.key("resourceFieldRef"));
    if field.is_set() {
        field_ref(&field, FILE_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(at.invalid_value(&"resource".into(), detail));
        }
    } else if resource.is_set() {
        resources::field_ref(&resource, true, errors);
    } else {
        errors.push(at.required("one of fieldRef and resourceFieldRef is required"));
    }
    mode(&at.key("mode"), errors);
}

fn projected(at: &At<'_>, errors: &mut ErrorList) {
    mode(&at.key("defaultMode"), errors);
    let mut paths = HashSet::new();
    for source in at.key("sources").items() {
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
        ];
        let given: Vec<At<'_>> = kinds.iter().map(|kind| source.key(kind)).filter(At::is_set).collect();
        for one in &given {
            projection(at, one, &mut paths, errors);
        }
        if given.len() > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn projection<'a>(volume: &At<'_>, at: &At<'a>, paths: &mut HashSet<&'a str>, errors: &mut ErrorList) {
    let kind = at.path.rsplit('.').next().unwrap_or_default();
    match kind {
        "secret" | "configMap" if at.key("name").text().is_empty() => errors.push(at.key("name").required("")),
        "serviceAccountToken" => {
            let seconds = at.key("expirationSeconds");
            if seconds.int() < 600 {
                errors.push(seconds.invalid("may not specify a duration less than 10 minutes"));
            } else if seconds.int() > 1 << 32 {
                errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
            }
            let path = At::new(&at.value["path"], format!("{}.path", volume.path));
            super::required_text(&path, |_| Vec::new(), errors);
            local_path(&path, errors);
        }
        _ => {}
    }
    for item in at.key("items").items() {
        if kind == "downwardAPI" {
            downward_item(&At::new(item.value, at.path.as_str()), errors);
        } else {
            key_to_path(&item, errors);
        }
        let path = item.key("path");
        if !path.text().is_empty() && !paths.insert(path.text()) {
            let shown = if kind == "downwardAPI" {
                path.value
            } else {
                &at.value["name"]
            };
            errors.push(volume.invalid_value(shown, "conflicting duplicate paths"));
        }
    }
}

/// A relative path without `..` that does not start with two dots.
pub(crate) fn local_path(at: &At<'_>, errors: &mut ErrorList) {
    local_descending(at, errors);
    if at.text().starts_with("..") && at.text() != ".." && !at.text().starts_with("../") {
        errors.push(at.invalid("must not start with '..'"));
    }
}

/// A relative path without `..`.
pub(crate) fn local_descending(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().starts_with('/') {
        errors.push(at.invalid("must be a relative path"));
    }
    no_backsteps(at, errors);
}

/// A path without `..`.
pub(crate) fn no_backsteps(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().split('/').any(|part| part == "..") {
        errors.push(at.invalid("must not contain '..'"));
    }
}

/// Errors of a container's mounts.
pub(crate) fn mounts(container: &At<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut ErrorList) {
    let at = container.key("volumeMounts");
    let devices: Vec<At<'_>> = container.key("volumeDevices").items().collect();
    let mut seen = HashSet::new();
    for mount in at.items() {
        let (name, path) = (mount.key("name"), mount.key("mountPath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if !volumes.contains_key(name.text()) {
            errors.push(name.not_found());
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if !seen.insert(path.text()) {
            errors.push(path.invalid_value(&path.text().into(), "must be unique"));
        }
        if devices.iter().any(|d| d.key("name").text() == name.text()) {
            errors.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| d.key("devicePath").text() == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeDevices"));
        }
        mount_options(&at, &mount, container, errors);
    }
}

fn mount_options(all: &At<'_>, mount: &At<'_>, container: &At<'_>, errors: &mut ErrorList) {
    let place = |name: &str| At::new(&mount.value[name], format!("{}.{name}", all.path));
    local_descending(&place("subPath"), errors);
    if !mount.key("subPathExpr").text().is_empty() {
        if !mount.key("subPath").text().is_empty() {
            errors.push(
                mount
                    .key("subPathExpr")
                    .invalid("subPathExpr and subPath are mutually exclusive"),
            );
        }
        local_descending(&place("subPathExpr"), errors);
    }
    let propagation = place("mountPropagation");
    super::one_of_if_set(&propagation, &["Bidirectional", "HostToContainer", "None"], errors);
    if propagation.text() == "Bidirectional" && !container.key("securityContext").key("privileged").flag() {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(propagation.forbidden(detail));
    }
    let recursive = place("recursiveReadOnly");
    super::one_of_if_set(&recursive, &["Disabled", "Enabled", "IfPossible"], errors);
    if ["Enabled", "IfPossible"].contains(&recursive.text()) {
        if !mount.key("readOnly").flag() {
            errors.push(recursive.forbidden("may only be specified when readOnly is true"));
        }
        if propagation.is_set() && propagation.text() != "None" {
            let detail = "may only be specified when mountPropagation is None or not specified";
            errors.push(recursive.forbidden(detail));
        }
    }
}

/// Errors of a container's block devices.
pub(crate) fn devices(container: &At<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut ErrorList) {
    let mounts: Vec<At<'_>> = container.key("volumeMounts").items().collect();
    let (mut seen_names, mut seen_paths) = (HashSet::new(), HashSet::new());
    for device in container.key("volumeDevices").items() {
        let (name, path) = (device.key("name"), device.key("devicePath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if !name.text().is_empty() && !seen_names.insert(name.text()) {
            errors.push(name.invalid("must be unique"));
        }
        match volumes.get(name.text()) {
            Some(volume) if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(name.invalid(detail));
            }
            Some(_) => {}
            None => errors.push(name.not_found()),
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if !seen_paths.insert(path.text()) {
            errors.push(path.invalid_value(&path.text().into(), "must be unique"));
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        }
        if mounts.iter().any(|m| m.key("name").text() == name.text()) {
            errors.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|m| m.key("mountPath").text() == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
    }
}
