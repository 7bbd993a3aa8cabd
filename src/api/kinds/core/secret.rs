//! Secret.

use apimachinery::{Object, field::ErrorList, schema::decode_json};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::config_map::{MAX_BYTES, config_key, decoded_len, frozen};
use crate::{
    json::{default_zero, entries, len, map_mut, put, remove, text},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::{At, immutable},
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
        Column::text("Data", "Number of keys."),
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

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let data = At::field(object, "data");
        for (key, entry) in data.entries() {
            config_key(key, &entry, &mut errors);
        }
        if data
            .entries()
            .map(|(_, value)| decoded_len(value.text()))
            .sum::<usize>()
            > MAX_BYTES
        {
            errors.push(data.too_long(MAX_BYTES));
        }
        by_type(object, &data, &mut errors);
        errors
    }

    fn warnings(&self, object: &Object, _old: Option<&Object>) -> Vec<String> {
        if object["type"] != "kubernetes.io/tls" {
            return Vec::new();
        }
        let missing = [("tls.crt", "certificate"), ("tls.key", "key")]
            .into_iter()
            .find(|(key, _)| {
                let bytes = BASE64.decode(text(&object["data"][key])).unwrap_or_default();
                !String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
            });
        missing
            .map(|(_, what)| format!("tls: failed to find any PEM data in {what} input"))
            .into_iter()
            .collect()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        immutable(&At::field(object, "type"), &old["type"], &mut errors);
        errors.extend(frozen(object, old, &["data"]));
        errors.extend(self.validate(object));
        errors
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

fn by_type(secret: &Object, data: &At<'_>, errors: &mut ErrorList) {
    let mut require = |keys: &[&str]| {
        for key in keys.iter().map(|key| data.entry(key)).filter(|entry| !entry.is_set()) {
            errors.push(key.required(""));
        }
    };
    match text(&secret["type"]) {
        "kubernetes.io/service-account-token" => {
            let annotations = At::new(&secret["metadata"]["annotations"], "metadata.annotations");
            let account = annotations.entry("kubernetes.io/service-account.name");
            if account.text().is_empty() {
                errors.push(account.required(""));
            }
        }
        "kubernetes.io/dockercfg" => docker_config(&data.entry(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => docker_config(&data.entry(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" if !data.entry("username").is_set() && !data.entry("password").is_set() => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data.entry("ssh-privatekey").text().is_empty() => {
            errors.push(data.entry("ssh-privatekey").required(""));
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn docker_config(entry: &At<'_>, errors: &mut ErrorList) {
    if !entry.is_set() {
        errors.push(entry.required(""));
        return;
    }
    let bytes = BASE64.decode(entry.text()).unwrap_or_default();
    let problem = match decode_json(&bytes) {
        Ok(raw) if raw.value.is_object() || raw.value.is_null() => return,
        Ok(_) => "json: cannot unmarshal value into Go value of type map[string]interface {}".to_owned(),
        Err(error) => error.to_string(),
    };
    errors.push(entry.invalid_value(&"<secret contents redacted>".into(), &problem));
}
