//! Makes bad, odd and border-line objects out of a good one.

use serde_json::{Map, Value, json};

/// An object with one thing changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// What was changed, and how: `/spec/replicas = -1`.
    pub name: String,
    /// The changed object.
    pub object: Value,
}

/// Every mutation of an object, in the order of its fields. What tells its type stays.
#[must_use]
pub fn mutations(object: &Value) -> Vec<Mutation> {
    let mut places = Vec::new();
    walk(object, &mut String::new(), &mut places);
    let mut all = Vec::new();
    for (pointer, value) in places {
        for (how, changed) in changes(value) {
            let mut mutated = object.clone();
            match (mutated.pointer_mut(&pointer), changed) {
                (Some(place), Some(changed)) => *place = changed,
                (_, None) => remove(&mut mutated, &pointer),
                (None, Some(_)) => continue,
            }
            all.push(Mutation {
                name: format!("{pointer} {how}"),
                object: mutated,
            });
        }
    }
    all
}

fn walk<'a>(value: &'a Value, pointer: &mut String, places: &mut Vec<(String, &'a Value)>) {
    if !["", "/apiVersion", "/kind", "/metadata"].contains(&pointer.as_str()) {
        places.push((pointer.clone(), value));
    }
    let length = pointer.len();
    let mut step = |key: &str, value: &'a Value| {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        walk(value, pointer, places);
        pointer.truncate(length);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| step(key, value)),
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                step(&at.to_string(), value);
            }
        }
        _ => {}
    }
}

/// How a value is changed; nothing is left of it where there is no other one.
fn changes(value: &Value) -> Vec<(String, Option<Value>)> {
    let to = |value: Value| (format!("= {}", shortened(&value)), Some(value));
    let mut all = vec![("removed".to_owned(), None), to(Value::Null)];
    match value {
        Value::String(_) => all.extend(
            ["", "Bad_Name!", "-1", "1.5x", "/"]
                .map(Value::from)
                .into_iter()
                .chain([Value::from("a".repeat(300)), json!(7)])
                .map(to),
        ),
        Value::Number(_) => all.extend(
            [
                json!(-1),
                json!(0),
                json!(65_536),
                json!(2_147_483_648_u64),
                json!(1.5),
                json!("x"),
            ]
            .map(to),
        ),
        Value::Bool(is) => all.extend([json!(!is), json!("true"), json!(1)].map(to)),
        Value::Array(items) => {
            all.extend([json!([]), json!({}), json!("x"), json!([null]), json!([7])].map(to));
            if let Some(first) = items.first() {
                let twice: Vec<_> = items.iter().chain([first]).cloned().collect();
                all.push(("with its first item twice".to_owned(), Some(twice.into())));
            }
        }
        Value::Object(map) => {
            let mut unknown = map.clone();
            unknown.insert("nonsense".to_owned(), "x".into());
            all.extend([Value::Object(Map::new()), json!([]), json!("x")].map(to));
            all.push(("with nonsense".to_owned(), Some(unknown.into())));
        }
        Value::Null => {}
    }
    all.retain(|(_, changed)| changed.as_ref() != Some(value));
    all
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.len() > 40 {
        format!("{}… of {}", &text[..8], text.len())
    } else {
        text
    }
}

fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(at) = key.parse().ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_changed_and_nothing_else() {
        let object = json!({"kind": "K", "metadata": {"name": "a"}, "spec": {"list": [{"n": 1}]}});
        let all = mutations(&object);
        let of = |name: &str| {
            let found = all.iter().find(|mutation| mutation.name == name);
            found.map(|mutation| mutation.object["spec"].clone())
        };
        assert_eq!(of("/spec/list/0/n = -1"), Some(json!({"list": [{"n": -1}]})));
        assert_eq!(of("/spec/list removed"), Some(json!({})));
        assert_eq!(
            of("/spec/list/0 with nonsense"),
            Some(json!({"list": [{"n": 1, "nonsense": "x"}]}))
        );
        assert_eq!(
            of("/spec/list with its first item twice"),
            Some(json!({"list": [{"n": 1}, {"n": 1}]}))
        );
        assert!(
            all.iter()
                .all(|mutation| mutation.object["kind"] == "K" && mutation.object != object)
        );
    }
}
