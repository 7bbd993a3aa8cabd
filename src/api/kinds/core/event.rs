//! Event. `events.k8s.io/v1` serves the same objects, see [`crate::kinds::events`].

use apimachinery::{Object, field::ErrorList, names};
use serde_json::Value;

use crate::{
    json::{absent, int, text},
    kind::{Column, KindDef, Strategy},
    printers,
    validation::At,
};

/// Event in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Event",
    resource: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "io.k8s.api.core.v1.Event",
    create_on_update: true,
    selectable_fields: SELECTABLE,
    columns: COLUMNS,
    strategy: &Event,
    ..KindDef::NAMESPACED
};

pub(crate) const SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

pub(crate) const COLUMNS: &[Column] = &[
    Column::text("Last Seen", "Time since it was seen last."),
    Column::text("Type", "Normal or Warning."),
    Column::text("Reason", "Why it happened, in a word."),
    Column::text("Object", "What it happened to."),
    Column::text("Subobject", "Part of the object, as a field path.").wide(),
    Column::text("Source", "Who reports it.").wide(),
    Column::text("Message", "What happened, in words."),
    Column::text("First Seen", "Time since it was seen first.").wide(),
    Column::text("Count", "How often it was seen.").wide(),
    Column::object_name().wide(),
];

struct Event;

impl Strategy for Event {
    fn validate(&self, object: &Object) -> ErrorList {
        validate(object, "reportingComponent")
    }

    // Old clients name events as they like.
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment_name(name)
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        let involved = &object["involvedObject"];
        let mut source = text(&object["source"]["component"]);
        if source.is_empty() {
            source = text(&object["reportingComponent"]);
        }
        [
            "kind",
            "namespace",
            "name",
            "uid",
            "apiVersion",
            "resourceVersion",
            "fieldPath",
        ]
        .iter()
        .map(|key| text(&involved[key]))
        .chain([
            text(&object["reason"]),
            text(&object["reportingComponent"]),
            source,
            text(&object["type"]),
        ])
        .map(str::to_owned)
        .collect()
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let first = printers::since(first_present(&object["firstTimestamp"], &object["eventTime"]), now);
        let last = match () {
            () if !absent(&object["series"]) => printers::since(&object["series"]["lastObservedTime"], now),
            () if absent(&object["lastTimestamp"]) => first.clone(),
            () => printers::since(&object["lastTimestamp"], now),
        };
        let count = match int(&object["count"]) {
            _ if !absent(&object["series"]) => int(&object["series"]["count"]),
            0 => 1,
            count => count,
        };
        let involved = &object["involvedObject"];
        let mut target = text(&involved["kind"]).to_lowercase();
        if !text(&involved["name"]).is_empty() {
            target = format!("{target}/{}", text(&involved["name"]));
        }
        vec![
            last.into(),
            text(&object["type"]).into(),
            text(&object["reason"]).into(),
            target.into(),
            text(&involved["fieldPath"]).into(),
            source(object).into(),
            text(&object["message"]).trim().into(),
            first.into(),
            count.into(),
            printers::name(object),
        ]
    }
}

fn first_present<'a>(a: &'a Value, b: &'a Value) -> &'a Value {
    if absent(a) { b } else { a }
}

fn source(event: &Object) -> String {
    let component = printers::or(text(&event["source"]["component"]), text(&event["reportingComponent"]));
    let host = printers::or(text(&event["source"]["host"]), text(&event["reportingInstance"]));
    if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    }
}

/// Errors of an event; the field of the reporter has another name in `events.k8s.io`.
pub(crate) fn validate(event: &Object, reporter: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let namespace = text(&event["metadata"]["namespace"]);
    let involved = At::field(event, "involvedObject").key("namespace");
    let mismatch = || involved.invalid_value(&involved.text().into(), "does not match event.namespace");
    if absent(&event["eventTime"]) {
        let matches = match involved.text() {
            "" => namespace.is_empty() || namespace == "default",
            other => other == namespace,
        };
        if !matches {
            errors.push(mismatch());
        }
        return errors;
    }
    if involved.text().is_empty() && !["default", "kube-system"].contains(&namespace) {
        errors.push(mismatch());
    }
    let controller = At::new(&event["reportingComponent"], reporter);
    if controller.text().is_empty() {
        errors.push(controller.required(""));
    }
    let shown = controller.text().into();
    let problems = names::qualified_name(controller.text());
    errors.extend(problems.iter().map(|problem| controller.invalid_value(&shown, problem)));
    for (name, max, needed) in [
        ("reportingInstance", 128, true),
        ("action", 128, true),
        ("reason", 128, true),
        ("message", 1024, false),
    ] {
        let at = At::field(event, name);
        if needed && at.text().is_empty() {
            errors.push(at.required(""));
        }
        if at.text().len() > max {
            errors.push(at.invalid_value(&"".into(), &format!("can have at most {max} characters")));
        }
    }
    errors
}
