//! ConfigMap.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::len,
    kind::{Column, KindDef, Strategy},
    printers,
};

/// ConfigMap in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "ConfigMap",
    resource: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    type_name: "io.k8s.api.core.v1.ConfigMap",
    columns: &[
        Column::object_name(),
        Column::integer("Data", "Number of keys."),
        Column::age(),
    ],
    strategy: &ConfigMap,
    ..KindDef::NAMESPACED
};

struct ConfigMap;

impl Strategy for ConfigMap {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let keys = len(&object["data"]) + len(&object["binaryData"]);
        vec![printers::name(object), keys.into(), printers::age(object, now)]
    }
}
