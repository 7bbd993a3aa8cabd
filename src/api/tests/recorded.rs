//! The kinds against answers recorded from kube-apiserver 1.36: several hundred manifests, good and bad, of every kind.
//!
//! `golden/bases.jsonl` holds a manifest per kind and what became of it; `create.jsonl` changes these manifests
//! (`set`: path and value, or path alone to remove) and says either how the result changes or how it was refused.
//! `stored.jsonl` and `update.jsonl` do the same for replacing a stored object or its status, `rows.jsonl` shows table
//! rows for statuses. Uids read `UID`, ages `AGE`.

#![expect(clippy::unwrap_used, reason = "the recordings are known to be well formed")]

use std::collections::HashMap;

use api::{KindDef, kinds};
use apimachinery::{Object, field, schema::Schema, validation};
use serde_json::{Value, json};

const NOW: &str = "2026-11-22T12:00:00Z";

fn lines(text: &'static str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn set(object: &mut Value, path: &[Value], value: Option<&Value>) {
    let (last, parents) = path.split_last().unwrap();
    let mut place = object;
    for step in parents {
        place = match step {
            Value::String(key) => place.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({})),
            index => &mut place[usize::try_from(index.as_u64().unwrap()).unwrap()],
        };
    }
    match (last, place) {
        (Value::String(key), Value::Object(map)) => match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        },
        (index, Value::Array(list)) => {
            let index = usize::try_from(index.as_u64().unwrap()).unwrap();
            let value = value.unwrap().clone();
            if index == list.len() {
                list.push(value)
            } else {
                list[index] = value
            }
        }
        other => panic!("cannot set {other:?}"),
    }
}

fn changed(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    for change in changes.as_array().unwrap() {
        set(&mut object, change[0].as_array().unwrap(), change.get(1));
    }
    object
}

fn kind_of(object: &Object) -> &'static KindDef {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinds::by_kind(group, version, object["kind"].as_str().unwrap()).unwrap()
}

fn canonical(object: &mut Object) {
    let (api_version, kind) = (object["apiVersion"].to_string(), object["kind"].to_string());
    let report = Schema::global().check(api_version.trim_matches('"'), kind.trim_matches('"'), object);
    assert_eq!(report.and_then(|report| report.error), None);
}

/// What the server does with an object, in its order.
struct Outcome {
    object: Object,
    refused: Option<String>,
    warnings: Vec<String>,
    row: Vec<Value>,
}

/// What admission adds to a pod without a priority class.
fn complete(pod: &mut Object) {
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.entry("priority").or_insert_with(|| 0.into());
    spec.entry("preemptionPolicy")
        .or_insert_with(|| "PreemptLowerPriority".into());
}

fn outcome(served: &'static KindDef, mut object: Object, old: Option<&Object>, status: bool) -> Outcome {
    let strategy = kinds::storage_of(served).strategy;
    canonical(&mut object);
    served.strategy.default(&mut object);
    if let Some(conversion) = served.conversion {
        (conversion.to_storage)(&mut object);
    }
    let stored = old.map(|old| {
        let mut old = old.clone();
        if let Some(conversion) = served.conversion {
            (conversion.to_storage)(&mut old);
        }
        old
    });
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    match &stored {
        None => {
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.insert("uid".into(), "UID".into());
            metadata.insert("creationTimestamp".into(), NOW.into());
            if served.kind == "Pod" {
                complete(&mut object);
            }
            strategy.prepare_for_create(&mut object);
            errors.extend(validation::object_meta(&object, served.namespaced, |name| {
                strategy.validate_name(name)
            }));
            errors.extend(strategy.validate(&object));
            errors.extend(
                served
                    .conversion
                    .iter()
                    .flat_map(|conversion| (conversion.validate)(&object)),
            );
            warnings = strategy.warnings(&object, None);
            // As it is read back.
            strategy.default(&mut object);
        }
        Some(old) if status => {
            strategy.prepare_for_status_update(&mut object, old);
            errors.extend(validation::object_meta_update(&object, old, served.namespaced));
            errors.extend(validation::object_meta_update_of_kind(&object, old));
            errors.extend(strategy.validate_status_update(&object, old));
        }
        Some(old) => {
            strategy.prepare_for_update(&mut object, old);
            errors.extend(validation::object_meta_update(&object, old, served.namespaced));
            errors.extend(validation::object_meta_update_of_kind(&object, old));
            errors.extend(strategy.validate_update(&object, old));
        }
    }
    let row = strategy.row(&object, NOW.parse().unwrap());
    if let Some(conversion) = served.conversion {
        (conversion.from_storage)(&mut object);
    }
    canonical(&mut object);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let refused = (!errors.is_empty()).then(|| field::to_status(served.group, served.kind, &name, &errors).message);
    for key in ["uid", "creationTimestamp", "resourceVersion"] {
        object["metadata"].as_object_mut().unwrap().remove(key);
    }
    warnings.sort();
    Outcome {
        object,
        refused,
        warnings,
        row,
    }
}

/// Ages and times differ from run to run.
fn shown(row: &[Value]) -> Vec<Value> {
    let one = |cell: &Value| match cell.as_str() {
        Some("0s") => "AGE".into(),
        Some(NOW) => "TIME".into(),
        _ => cell.clone(),
    };
    row.iter().map(one).collect()
}

#[test]
fn new_objects_are_defaulted_and_shown_as_kube_apiserver_does() {
    for base in lines(include_str!("golden/bases.jsonl")) {
        let got = outcome(kind_of(&base["sent"]), base["sent"].clone(), None, false);
        let columns: Vec<Value> = kinds::storage_of(kind_of(&base["sent"]))
            .columns
            .iter()
            .map(|c| json!([c.name, c.kind, c.format, c.priority]))
            .collect();
        assert_eq!(got.refused, None, "{}", base["name"]);
        assert_eq!(got.object, base["result"], "{}", base["name"]);
        assert_eq!(Value::from(shown(&got.row)), base["row"], "{}", base["name"]);
        assert_eq!(Value::from(columns), base["columns"], "{}", base["name"]);
    }
}

#[test]
fn manifests_are_accepted_and_refused_as_by_kube_apiserver() {
    let bases: HashMap<String, Value> = lines(include_str!("golden/bases.jsonl"))
        .map(|b| (b["name"].as_str().unwrap().to_owned(), b))
        .collect();
    let mut failures = Vec::new();
    for case in lines(include_str!("golden/create.jsonl")) {
        let base = &bases[case["base"].as_str().unwrap()];
        let sent = changed(&base["sent"], &case["set"]);
        let got = outcome(kind_of(&sent), sent, None, false);
        let as_recorded = match case.get("refused") {
            Some(refused) => got.refused.as_deref() == refused.as_str(),
            None => {
                let warnings = case.get("warnings").cloned().unwrap_or_else(|| json!([]));
                got.refused.is_none()
                    && got.object == changed(&base["result"], &case["changes"])
                    && Value::from(got.warnings.clone()) == warnings
                    && Value::from(shown(&got.row)) == *case.get("row").unwrap_or(&base["row"])
            }
        };
        if !as_recorded {
            failures.push(format!(
                "{case}\n  refused: {:?}\n  warnings: {:?}\n  object: {}\n  row: {:?}",
                got.refused, got.warnings, got.object, got.row
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn changes_of_objects_and_statuses_are_treated_as_by_kube_apiserver() {
    let stored: HashMap<String, Value> = lines(include_str!("golden/stored.jsonl"))
        .map(|s| (s["name"].as_str().unwrap().to_owned(), s))
        .collect();
    let mut failures = Vec::new();
    for case in lines(include_str!("golden/update.jsonl")) {
        let recorded = &stored[case["base"].as_str().unwrap()]["object"];
        let mut old = recorded.clone();
        for (key, value) in [("uid", "UID"), ("creationTimestamp", NOW), ("resourceVersion", "7")] {
            old["metadata"][key] = value.into();
        }
        let sent = changed(&old, &case["set"]);
        let got = outcome(kind_of(&old), sent, Some(&old), case["status"] == true);
        let as_recorded = match case.get("refused") {
            Some(refused) => got.refused.as_deref() == refused.as_str(),
            None => got.refused.is_none() && got.object == changed(recorded, &case["changes"]),
        };
        if !as_recorded {
            failures.push(format!(
                "{case}\n  refused: {:?}\n  object: {}",
                got.refused, got.object
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn rows_show_a_status_as_kube_apiserver_does() {
    let stored: HashMap<String, Value> = lines(include_str!("golden/stored.jsonl"))
        .map(|s| (s["name"].as_str().unwrap().to_owned(), s))
        .collect();
    for case in lines(include_str!("golden/rows.jsonl")) {
        let mut object = stored[case["base"].as_str().unwrap()]["object"].clone();
        object["metadata"]["creationTimestamp"] = NOW.into();
        object["status"] = case["status"].clone();
        let kind = kinds::storage_of(kind_of(&object));
        let row = kind.strategy.row(&object, NOW.parse().unwrap());
        let columns = row.iter().zip(case["row"].as_array().unwrap());
        for (ours, theirs) in columns.filter(|(_, theirs)| !theirs.to_string().contains("AGE")) {
            assert_eq!(ours, theirs, "{case}");
        }
        let conditions = case.get("conditions").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(Value::from(kind.strategy.row_conditions(&object)), conditions, "{case}");
    }
}
