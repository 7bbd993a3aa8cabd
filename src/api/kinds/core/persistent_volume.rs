//! PersistentVolume.

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
};
use serde_json::{Value, json};

use crate::{
    defaults,
    json::{absent, default_to, default_zero, items, map_mut, put, text},
    kind::{Column, KindDef, MEMBER, Strategy, Subresource},
    printers,
    strategy::keep_status,
    validation::{
        At, POSITIVE, immutable, one_of_if_set, resources, scheduling, text as check_text, volume, volume_claim,
    },
};

/// PersistentVolume in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "PersistentVolume",
    answers_deleted: true,
    resource: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    subresources: &[Subresource::Status],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.PersistentVolume",
    columns: &[
        Column::object_name(),
        Column::text("Capacity", "Size of the volume."),
        Column::text("Access Modes", "Ways it can be mounted."),
        Column::text("Reclaim Policy", "What happens to it when its claim goes."),
        Column::text("Status", "Phase of the volume."),
        Column::text("Claim", "The claim it is bound to."),
        Column::text("StorageClass", "Its storage class."),
        Column::text("VolumeAttributesClass", "Its volume attributes class."),
        Column::text("Reason", "Why it is in its phase."),
        Column::age(),
        Column::text("VolumeMode", "File system or block device.").wide(),
    ],
    strategy: &PersistentVolume,
    ..KindDef::CLUSTER_SCOPED
};

/// Kinds of volumes in the order in which kube-apiserver looks for them.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Object) {
        default_zero(map_mut(object, "status"), "phase", "Pending");
        let spec = map_mut(object, "spec");
        default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_to(spec, "volumeMode", "Filesystem");
        for (kind, source) in spec
            .as_object_mut()
            .into_iter()
            .flatten()
            .filter(|(_, v)| v.is_object())
        {
            defaults::volume::storage(kind, source);
        }
    }

    fn prepare_for_create(&self, object: &mut Object) {
        let now = object["metadata"]["creationTimestamp"].clone();
        put(
            object,
            "status",
            json!({"phase": "Pending", "lastPhaseTransitionTime": now}),
        );
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let modes = spec.key("accessModes");
        if modes.is_empty() {
            errors.push(modes.required(""));
        }
        volume_claim::access_modes(&modes, &mut errors);
        let capacity = spec.key("capacity");
        if capacity.is_empty() {
            errors.push(capacity.required(""));
        }
        if capacity.len() != 1 || !capacity.entry("storage").is_set() {
            errors.push(capacity.not_supported(&["storage"]));
        }
        for (_, amount) in capacity.entries() {
            let Some(quantity) = resources::quantity(amount.value) else {
                continue;
            };
            if quantity.sign() < 0 {
                errors.push(amount.invalid_value(&quantity.value().into(), "must be a valid resource quantity"));
            }
            if quantity.sign() <= 0 {
                errors.push(amount.invalid_value(&quantity.to_string().into(), POSITIVE));
            }
        }
        let policy = spec.key("persistentVolumeReclaimPolicy");
        if !["Delete", "Recycle", "Retain"].contains(&policy.text()) {
            errors.push(policy.not_supported(&["Delete", "Recycle", "Retain"]));
        }
        one_of_if_set(&spec.key("volumeMode"), &["Block", "Filesystem"], &mut errors);
        let mut sources = SOURCES.iter().map(|source| spec.key(source)).filter(At::is_set);
        if sources.next().is_none() {
            errors.push(spec.required("must specify a volume type"));
        }
        errors.extend(sources.map(|source| source.forbidden("may not specify more than 1 volume type")));
        if spec.key("hostPath").is_set() {
            volume::host_path(&spec.key("hostPath"), &mut errors);
        }
        node_affinity(&spec, &mut errors);
        let class = spec.key("storageClassName");
        if !class.text().is_empty() {
            check_text(&class, names::dns1123_subdomain, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, before) = (&object["spec"], &old["spec"]);
        if SOURCES.iter().any(|source| new[*source] != before[*source]) {
            let path = "spec.persistentvolumesource";
            errors.push(field::forbidden(
                path,
                "spec.persistentvolumesource is immutable after creation",
            ));
        }
        immutable(
            &At::field(object, "spec").key("volumeMode"),
            &before["volumeMode"],
            &mut errors,
        );
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let claim = match &spec["claimRef"] {
            Value::Null => String::new(),
            claim => format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])),
        };
        vec![
            printers::name(object),
            printers::or(&printers::scalar(&spec["capacity"]["storage"]), "0").into(),
            access_modes(&spec["accessModes"]).into(),
            text(&spec["persistentVolumeReclaimPolicy"]).into(),
            phase(object).into(),
            claim.into(),
            class(object).into(),
            unset_or(&spec["volumeAttributesClassName"]).into(),
            text(&object["status"]["reason"]).into(),
            printers::age(object, now),
            unset_or(&spec["volumeMode"]).into(),
        ]
    }
}

/// Errors of where a volume can be reached from.
fn node_affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let affinity = spec.key("nodeAffinity");
    let required = affinity.key("required");
    if required.is_set() {
        scheduling::node_selector(&required, errors);
    } else if affinity.is_set() {
        errors.push(required.required("must specify required node constraints"));
    }
    let local = spec.key("local");
    if local.is_set() && local.key("path").text().is_empty() {
        errors.push(local.key("path").required(""));
    }
    if local.is_set() && !affinity.is_set() {
        errors.push(affinity.required("Local volume requires node affinity"));
    }
}

/// The phase, or that the object is being deleted.
pub(crate) fn phase(object: &Object) -> &str {
    if absent(&object["metadata"]["deletionTimestamp"]) {
        text(&object["status"]["phase"])
    } else {
        "Terminating"
    }
}

/// The storage class: the old annotation wins over the field.
pub(crate) fn class(object: &Object) -> &str {
    match object["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => text(class),
        None => text(&object["spec"]["storageClassName"]),
    }
}

/// Access modes in their short forms, each once, in kube's order.
pub(crate) fn access_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| items(modes).iter().any(|m| m == mode);
    SHORT
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}

/// The text of a pointer field, `<unset>` if nil.
pub(crate) fn unset_or(value: &Value) -> &str {
    value.as_str().unwrap_or("<unset>")
}
