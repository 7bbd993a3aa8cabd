//! PersistentVolumeClaim.

use apimachinery::Object;
use serde_json::{Value, json};

use super::persistent_volume::{access_modes, class, phase, unset_or};
use crate::{
    json::{default_to, default_zero, map_mut, put, text},
    kind::{Column, KindDef, MEMBER, Strategy, Subresource},
    printers,
    strategy::keep_status,
};

/// PersistentVolumeClaim in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "PersistentVolumeClaim",
    resource: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    subresources: &[Subresource::Status],
    profiles: MEMBER,
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
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
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
