//! The way from client-side apply to server-side apply.
//!
//! `kubectl apply` keeps what it applied in an annotation. When the same user goes over to server-side apply, what
//! stands there and is unchanged is not a conflict; and as long as the annotation is there it is kept up to date, so
//! that the way back stays open.

use serde_json::{Map, Value};

use super::{compare::Comparison, field_set_of::field_set_of, set::FieldSet, shape::TypeRef, validate};
use crate::{Object, meta, validation::ANNOTATIONS_MAX};

/// The field manager of `kubectl apply --server-side`.
pub(super) const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn last_applied(object: &Object) -> Option<&str> {
    meta::annotation(object, LAST_APPLIED).filter(|text| !text.is_empty())
}

/// The fields that client-side apply set and that still are what it set them to.
pub(super) fn unchanged_since_last_applied(live: &Object, ty: TypeRef) -> Option<FieldSet> {
    let applied: Value = serde_json::from_str(last_applied(live)?).ok()?;
    if meta::api_version(&applied) != meta::api_version(live) || !validate::check(&applied, ty, false).is_empty() {
        return None;
    }
    let change = Comparison::of(&applied, live, ty);
    Some(
        field_set_of(&applied, ty)
            .difference(&change.set())
            .difference(&change.removed),
    )
}

/// Brings the annotation up to date after kubectl applied, if it is there.
pub(super) fn keep_last_applied(object: &mut Object, config: &Object, manager: &str) {
    if manager != KUBECTL || last_applied(object).is_none() {
        return;
    }
    let mut config = sorted(config);
    if let Some(Value::Object(annotations)) = config.get_mut("metadata").and_then(|m| m.get_mut("annotations")) {
        annotations.shift_remove(LAST_APPLIED);
    }
    meta::set_annotation(object, LAST_APPLIED, &format!("{}\n", crate::text::go_json(&config)));
    let size: usize = meta::annotations(object)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > ANNOTATIONS_MAX {
        meta::remove_annotation(object, LAST_APPLIED);
    }
}

/// The value with all keys in order, as Go writes maps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
