//! PersistentVolumeClaim.

use apimachinery::{
    Object,
    field::{self, ErrorList},
};
use serde_json::{Value, json};

use super::persistent_volume::{access_modes, class, phase, unset_or};
use crate::{
    json::{absent, default_to, default_zero, map_mut, put, remove, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::keep_status,
    validation::{At, immutable, resources, volume_claim},
};

/// PersistentVolumeClaim in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "PersistentVolumeClaim",
    answers_deleted: true,
    resource: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.core.v1.PersistentVolumeClaim",
    columns: &[
        Column::object_name(),
        Column::text("Status", "Phase of the claim."),
        Column::text("Volume", "The volume it is bound to."),
        Column::text("Capacity", "Size of that volume."),
        Column::text("Access Modes", "Ways that volume can be mounted."),
        Column::text("StorageClass", "Its storage class."),
        Column::text("VolumeAttributesClass", "Its volume attributes class."),
        Column::age(),
        Column::text("VolumeMode", "File system or block device.").wide(),
    ],
    strategy: &PersistentVolumeClaim,
    ..KindDef::NAMESPACED
};

struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Object) {
        default_zero(map_mut(object, "status"), "phase", "Pending");
        default_to(map_mut(object, "spec"), "volumeMode", "Filesystem");
    }

    fn prepare_for_create(&self, object: &mut Object) {
        put(object, "status", json!({"phase": "Pending"}));
        same_source(map_mut(object, "spec"));
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        volume_claim::spec(&At::field(object, "spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        let spec = At::field(object, "spec");
        let mut fixed = spec.value.clone();
        if text(&old["spec"]["volumeName"]).is_empty() {
            put(&mut fixed, "volumeName", old["spec"]["volumeName"].clone());
        }
        if text(&old["spec"]["storageClassName"]).is_empty() {
            put(&mut fixed, "storageClassName", old["spec"]["storageClassName"].clone());
        }
        if object["status"]["phase"] == "Bound" {
            put(
                &mut fixed,
                "volumeAttributesClassName",
                old["spec"]["volumeAttributesClassName"].clone(),
            );
            let requests = map_mut(map_mut(&mut fixed, "resources"), "requests");
            put(
                requests,
                "storage",
                old["spec"]["resources"]["requests"]["storage"].clone(),
            );
        }
        if fixed != old["spec"] {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName \
                          for bound claims\n";
            errors.push(spec.forbidden(detail));
        }
        let size = |object: &Object| resources::quantity(&object["spec"]["resources"]["requests"]["storage"]);
        let bound = resources::quantity(&old["status"]["capacity"]["storage"]);
        if size(object) < size(old) && size(object) <= bound {
            let path = "spec.resources.requests.storage";
            errors.push(field::forbidden(path, "field can not be less than status.capacity"));
        }
        immutable(
            &At::new(spec.key("volumeMode").value, "volumeMode"),
            &old["spec"]["volumeMode"],
            &mut errors,
        );
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !text(&spec["volumeName"]).is_empty();
        let (capacity, modes) = if bound {
            let size = printers::scalar(&status["capacity"]["storage"]);
            (
                printers::or(&size, "0").to_owned(),
                access_modes(&status["accessModes"]),
            )
        } else {
            (String::new(), String::new())
        };
        vec![
            printers::name(object),
            phase(object).into(),
            text(&spec["volumeName"]).into(),
            capacity.into(),
            modes.into(),
            class(object).into(),
            unset_or(&spec["volumeAttributesClassName"]).into(),
            printers::age(object, now),
            unset_or(&spec["volumeMode"]).into(),
        ]
    }
}

/// The older and the newer field for the source of data say the same, as far as the older one can.
fn same_source(spec: &mut Value) {
    let historic = |source: &Value| {
        let (group, kind) = (text(&source["apiGroup"]), text(&source["kind"]));
        [
            ("", "PersistentVolumeClaim"),
            ("snapshot.storage.k8s.io", "VolumeSnapshot"),
        ]
        .contains(&(group, kind))
    };
    // What older servers did not know they left out; only the new field can name it.
    if absent(&spec["dataSourceRef"]) && !historic(&spec["dataSource"]) {
        remove(spec, "dataSource");
    }
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if !absent(&source) && absent(&reference) {
        put(spec, "dataSourceRef", source);
    } else if absent(&source) && !absent(&reference) && absent(&reference["namespace"]) {
        put(spec, "dataSource", reference);
    }
}
