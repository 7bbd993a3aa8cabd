//! No object makes a strategy panic, whatever stands where.

use api::kinds;
use serde_json::{Value, json};

/// Every place in a value.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                places(
                    value,
                    &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(value, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn any_shape_in_any_place_is_survived() {
    let shapes = [
        json!(null),
        json!(-1),
        json!("☃/x"),
        json!([]),
        json!([null, 1, {}]),
        json!({}),
        json!({"a": ["b"]}),
    ];
    let now = jiff::Timestamp::UNIX_EPOCH;
    for base in include_str!("golden/bases.jsonl").lines() {
        let base: Value = serde_json::from_str(base).unwrap();
        let object = &base["result"];
        let api_version = object["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = kinds::by_kind(group, version, object["kind"].as_str().unwrap()).unwrap();
        let stored = kinds::storage_of(kind).strategy;
        let mut everywhere = Vec::new();
        places(object, "", &mut everywhere);
        for (index, place) in everywhere.iter().enumerate().filter(|(_, place)| !place.is_empty()) {
            // Two shapes a place, other ones at the next: all of them come everywhere in some kind.
            for shape in shapes.iter().cycle().skip(index * 2).take(2) {
                let mut hostile = object.clone();
                *hostile.pointer_mut(place).unwrap() = shape.clone();
                kind.strategy.default(&mut hostile);
                if let Some(conversion) = kind.conversion {
                    (conversion.to_storage)(&mut hostile);
                    (conversion.from_storage)(&mut hostile.clone());
                    (conversion.validate)(&hostile);
                }
                let old = hostile.clone();
                stored.prepare_for_create(&mut hostile);
                stored.validate(&hostile);
                stored.warnings(&hostile, Some(object));
                stored.selectable_values(&hostile);
                stored.grace_period(&hostile, Some(1));
                stored.row(&hostile, now);
                for (new, old) in [(&hostile, object), (object, &old)] {
                    let mut changed = new.clone();
                    stored.prepare_for_update(&mut changed, old);
                    stored.validate_update(&changed, old);
                    let mut changed = new.clone();
                    stored.prepare_for_status_update(&mut changed, old);
                    stored.validate_status_update(&changed, old);
                }
                let _ = api::admission::validate_federated(&hostile);
            }
        }
    }
}
