//! Event in `events.k8s.io/v1`: the newer names for the objects that are stored as core events.

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{int, rename},
    kind::{Conversion, KindDef, Strategy},
    kinds::core::event,
    validation::At,
};

/// Event in `events.k8s.io/v1`, converted.
pub const DEF: KindDef = KindDef {
    group: "events.k8s.io",
    kind: "Event",
    resource: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "io.k8s.api.events.v1.Event",
    create_on_update: true,
    selectable_fields: event::SELECTABLE,
    columns: event::COLUMNS,
    conversion: Some(&Conversion {
        group: "",
        version: "v1",
        to_storage,
        from_storage,
        validate: strict,
        deprecation: None,
    }),
    strategy: &Event,
    ..KindDef::NAMESPACED
};

const NAMES: [(&str, &str); 8] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingInstance", "reportingInstance"),
];

fn to_storage(object: &mut Object) {
    object["apiVersion"] = "v1".into();
    for (new, core) in NAMES {
        rename(object, new, core);
    }
}

fn from_storage(object: &mut Object) {
    object["apiVersion"] = "events.k8s.io/v1".into();
    for (new, core) in NAMES {
        rename(object, core, new);
    }
}

/// What this version demands beyond the core group's.
fn strict(event: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = |name: &str| At::field(event, name);
    let name = At::new(&event["metadata"]["name"], "metadata.name");
    if name.is_set() {
        let problems = names::dns1123_subdomain(name.text());
        errors.extend(problems.iter().map(|problem| name.invalid(problem)));
    }
    if at("series").is_set() && int(&event["series"]["count"]) < 2 {
        errors.push(At::new(&Value::Null, "series.count").invalid_value(&"".into(), "should be at least 2"));
    }
    if at("series").is_set() && event["series"]["lastObservedTime"].is_null() {
        errors.push(At::new(&Value::Null, "series.lastObservedTime").required(""));
    }
    if !at("eventTime").is_set() {
        errors.push(at("eventTime").required(""));
    }
    let kind = at("type");
    if !["Normal", "Warning"].contains(&kind.text()) {
        errors.push(kind.invalid_value(&"".into(), &format!("has invalid value: {}", kind.text())));
    }
    for name in ["firstTimestamp", "lastTimestamp"] {
        if at(name).is_set() {
            errors.push(at(name).invalid_value(&"".into(), "needs to be unset"));
        }
    }
    if int(at("count").value) != 0 {
        errors.push(at("count").invalid_value(&"".into(), "needs to be unset"));
    }
    let source = at("source");
    if !source.key("component").text().is_empty() || !source.key("host").text().is_empty() {
        errors.push(source.invalid_value(&"".into(), "needs to be unset"));
    }
    errors
}

struct Event;

impl Strategy for Event {
    fn selectable_values(&self, object: &Object) -> Vec<String> {
        event::DEF.strategy.selectable_values(object)
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        event::DEF.strategy.row(object, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_change_both_ways() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "regarding": {"name": "p"}, "note": "n", "reportingController": "c"});
        let mut object = new.clone();
        to_storage(&mut object);
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "involvedObject": {"name": "p"}, "message": "n", "reportingComponent": "c"})
        );
        from_storage(&mut object);
        assert_eq!(object, new);
    }
}
