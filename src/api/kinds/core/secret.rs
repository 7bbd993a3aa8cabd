//! Secret.

use apimachinery::Object;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use crate::{
    json::{default_zero, entries, len, map_mut, put, remove, text},
    kind::{Column, KindDef, Strategy},
    printers,
};

/// Secret in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Secret",
    resource: "secrets",
    singular: "secret",
    type_name: "io.k8s.api.core.v1.Secret",
    selectable_fields: &["type"],
    columns: &[
        Column::object_name(),
        Column::text("Type", "What the keys mean."),
        Column::integer("Data", "Number of keys."),
        Column::age(),
    ],
    strategy: &Secret,
    ..KindDef::NAMESPACED
};

struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Object) {
        default_zero(object, "type", "Opaque");
        let plain = remove(object, "stringData").unwrap_or_default();
        for (key, value) in entries(&plain) {
            put(map_mut(object, "data"), key, BASE64.encode(text(value)).into());
        }
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![text(&object["type"]).to_owned()]
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let data = len(&object["data"]);
        vec![
            printers::name(object),
            text(&object["type"]).into(),
            data.into(),
            printers::age(object, now),
        ]
    }
}
