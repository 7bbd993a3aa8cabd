//! Bodies of the fuzz targets under `fuzz/`.
//!
//! They live here so that the tests run them too, over the corpus. Each takes any bytes, must not panic, and
//! checks what holds for every input.

use serde_json::Value;

use crate::{
    Object,
    managed_fields::{ApplyRequest, FieldSet, apply, keep_times_if_unchanged},
    meta,
    patch::{json_patch, merge_patch, strategic_merge},
    quantity::Quantity,
    schema::Schema,
    selector::{FieldSelector, LabelSelector},
};

const TYPES: [&str; 5] = [
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.apps.v1.Deployment",
    "",
];

/// Selectors of query strings and objects: what is read and printed is read back alike.
pub fn selectors(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(selector) = LabelSelector::parse(&text) {
        assert_eq!(
            LabelSelector::parse(&selector.to_string()),
            Ok(selector.clone()),
            "{text}"
        );
        assert!(
            !selector.matches(|_| None) || !selector.to_string().contains('='),
            "{text}"
        );
    }
    if let Ok(selector) = FieldSelector::parse(&text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text}");
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let _ = LabelSelector::from_object(Some(&value));
        let _ = crate::selector::validate_label_selector(&value, "selector");
    }
}

/// Quantities: the canonical form is the same number.
pub fn quantities(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(quantity) = Quantity::parse(&text) {
        let written = quantity.to_string();
        assert_eq!(Quantity::parse(&written), Ok(quantity.clone()), "{text} {written}");
        let double = quantity.add(&quantity);
        assert_eq!(double.sign(), quantity.sign(), "{text}");
        let _ = (
            double.value(),
            double.milli_value(),
            double.mul(i64::MIN),
            double.sub(&quantity),
            double.as_f64(),
        );
    }
}

/// Patches of a document: `[document, patch]`.
pub fn patches(data: &[u8]) {
    let Ok((doc, patch)) = serde_json::from_slice::<(Value, Value)>(data) else {
        return;
    };
    let _ = json_patch(doc.clone(), patch.to_string().as_bytes());
    if let Ok(once) = merge_patch(doc.clone(), &patch) {
        assert_eq!(merge_patch(once.clone(), &patch), Ok(once), "{patch}");
    }
    for name in TYPES {
        let _ = strategic_merge(doc.clone(), &patch, name);
    }
}

/// Server-side apply: `[type, live object or null, configuration, …]`, each applied by force after the other.
pub fn ownership(data: &[u8]) {
    let Ok((type_index, live, configs)) = serde_json::from_slice::<(usize, Value, Vec<Value>)>(data) else {
        return;
    };
    let type_name = TYPES[type_index % TYPES.len()];
    let mut live = canonical(live, type_name).filter(Value::is_object);
    for (i, config) in configs.iter().enumerate() {
        let manager = ["a", "b"][i % 2];
        let Some(stored) = applied(live.as_ref(), config, manager, type_name) else {
            return;
        };
        if let Some(again) = applied(Some(&stored), config, manager, type_name) {
            let set = |object: &Object| owned(object, manager);
            assert_eq!(set(&again), set(&stored), "{config}");
        }
        live = Some(stored);
    }
}

fn applied(live: Option<&Object>, config: &Object, manager: &str, type_name: &str) -> Option<Object> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let request = ApplyRequest {
        live,
        config,
        manager,
        force: true,
        subresource: "",
        type_name,
        now,
    };
    let mut stored = canonical(apply(request).ok()?, type_name)?;
    if let Some(live) = live {
        keep_times_if_unchanged(&mut stored, live);
    }
    Some(stored)
}

/// The object as it would be stored; `None` if it does not decode.
fn canonical(mut object: Object, type_name: &str) -> Option<Object> {
    let Some(ty) = Schema::global().type_by_name(type_name) else {
        return Some(object);
    };
    Schema::global()
        .check_type(ty, &mut object)
        .error
        .is_none()
        .then_some(object)
}

fn owned(object: &Object, manager: &str) -> FieldSet {
    let entries = meta::get(object, "managedFields").and_then(Value::as_array);
    let mine = entries
        .into_iter()
        .flatten()
        .filter(|e| e["manager"] == manager && e["operation"] == "Apply");
    mine.fold(FieldSet::default(), |set, entry| {
        set.union(&FieldSet::decode(&entry["fieldsV1"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: fn(&[u8]), corpus: &str) {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(corpus);
        let mut count = 0;
        for entry in std::fs::read_dir(&directory).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{directory:?} has no corpus");
    }

    #[test]
    fn selectors_hold_on_the_corpus() {
        run(selectors, "selectors");
    }

    #[test]
    fn quantities_hold_on_the_corpus() {
        run(quantities, "quantities");
    }

    #[test]
    fn patches_hold_on_the_corpus() {
        run(patches, "patches");
    }

    #[test]
    fn ownership_holds_on_the_corpus() {
        run(ownership, "ownership");
    }
}
