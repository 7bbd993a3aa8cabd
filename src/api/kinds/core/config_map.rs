//! ConfigMap.

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
};
use serde_json::Value;

use crate::{
    json::{empty, len},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::At,
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
        Column::text("Data", "Number of keys."),
        Column::age(),
    ],
    strategy: &ConfigMap,
    ..KindDef::NAMESPACED
};

/// Bytes a ConfigMap or a Secret may hold: 1 MiB.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Errors of a key of a ConfigMap or Secret.
pub(super) fn config_key(key: &str, entry: &At<'_>, errors: &mut ErrorList) {
    errors.extend(
        names::config_map_key(key)
            .iter()
            .map(|problem| entry.invalid_value(&key.into(), problem)),
    );
}

/// Length of what Base64 text stands for.
pub(super) fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// Errors of a change to an object that was declared immutable.
pub(super) fn frozen(object: &Object, old: &Object, fields: &[&str]) -> ErrorList {
    const FROZEN: &str = "field is immutable when `immutable` is set";
    let mut errors = ErrorList::new();
    if old["immutable"] == true {
        if object["immutable"] != true {
            errors.push(field::forbidden("immutable", FROZEN));
        }
        for name in fields {
            let (new, old) = (&object[*name], &old[*name]);
            if new != old && !(empty(new) && empty(old)) {
                errors.push(field::forbidden(*name, FROZEN));
            }
        }
    }
    errors
}

struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let (data, binary) = (At::field(object, "data"), At::field(object, "binaryData"));
        for (key, entry) in data.entries() {
            config_key(key, &entry, &mut errors);
            if binary.entry(key).is_set() {
                errors.push(entry.invalid_value(&key.into(), "duplicate of key present in binaryData"));
            }
        }
        for (key, entry) in binary.entries() {
            config_key(key, &entry, &mut errors);
        }
        let size: usize = data.entries().map(|(_, v)| v.text().len()).sum::<usize>()
            + binary.entries().map(|(_, v)| decoded_len(v.text())).sum::<usize>();
        if size > MAX_BYTES {
            errors.push(field::too_long("[]", MAX_BYTES));
        }
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = frozen(object, old, &["data", "binaryData"]);
        errors.extend(self.validate(object));
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let keys = len(&object["data"]) + len(&object["binaryData"]);
        vec![printers::name(object), keys.into(), printers::age(object, now)]
    }
}
