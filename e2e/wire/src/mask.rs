//! Masks what differs from run to run.

use serde_json::Value;

/// Columns of tables that count from now.
const AGES: [&str; 4] = ["Age", "Last Seen", "First Seen", "Duration"];

/// Masks an answer's JSON in place.
pub fn mask(value: &mut Value) {
    table(value);
    generated_name(value);
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                member(key, value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

fn member(key: &str, value: &mut Value) {
    let masked = match (key, &*value) {
        ("uid", Value::String(text)) if !text.is_empty() => Some("<uid>"),
        ("resourceVersion", Value::String(text)) if !text.is_empty() && text != "0" => Some("<rv>"),
        ("continue", Value::String(text)) if !text.is_empty() => Some("<continue>"),
        ("token", Value::String(text)) if text.len() > 40 => Some("<token>"),
        ("clusterIP", Value::String(text)) if text.starts_with("10.0.") => Some("<ip>"),
        ("nodePort" | "healthCheckNodePort", Value::Number(_)) => Some("<port>"),
        (
            "gitVersion" | "gitCommit" | "buildDate" | "goVersion" | "compiler" | "platform" | "gitTreeState",
            Value::String(_),
        ) => Some("<version>"),
        ("serverAddress", Value::String(_)) => Some("<address>"),
        _ => None,
    };
    if let Some(masked) = masked {
        *value = Value::from(masked);
        return;
    }
    match value {
        Value::String(text) => *text = mask_text(text),
        Value::Array(items) if key == "clusterIPs" => items.iter_mut().for_each(|item| {
            if item.as_str().is_some_and(|text| text.starts_with("10.0.")) {
                *item = Value::from("<ip>");
            }
        }),
        other => {
            if let Value::Array(items) = other {
                if key == "managedFields" {
                    items.sort_by_cached_key(writer);
                }
                // Kube tells these in the order that a map of bindings happens to have.
                if matches!(key, "resourceRules" | "nonResourceRules") {
                    items.sort_by_cached_key(Value::to_string);
                }
                for item in items.iter_mut() {
                    if let Value::String(text) = item {
                        *text = mask_text(text);
                    }
                }
            }
            mask(other);
        }
    }
}

/// What entries of `managedFields` are in the order of, but for their times: these tell only whether the clock moved on
/// to another second between two requests.
fn writer(entry: &Value) -> [String; 4] {
    ["operation", "manager", "apiVersion", "subresource"]
        .map(|name| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// The name that the server completed, if the answer is such an object.
#[must_use]
pub fn generated(object: &Value) -> Option<String> {
    let metadata = object.get("metadata")?;
    let (prefix, name) = (metadata.get("generateName")?.as_str()?, metadata.get("name")?.as_str()?);
    (name.len() == prefix.len() + 5 && name.starts_with(prefix)).then(|| name.to_owned())
}

/// Names that the server completed.
fn generated_name(value: &mut Value) {
    let prefix = value.get("generateName").and_then(Value::as_str).map(ToOwned::to_owned);
    let name = value.get("name").and_then(Value::as_str);
    if let (Some(prefix), Some(name)) = (prefix, name)
        && name.len() == prefix.len() + 5
        && name.starts_with(&prefix)
    {
        value["name"] = Value::from(format!("{prefix}<random>"));
    }
}

fn table(value: &mut Value) {
    if value.get("kind").and_then(Value::as_str) != Some("Table") {
        return;
    }
    // The words are ours.
    for column in value["columnDefinitions"].as_array_mut().into_iter().flatten() {
        column["description"] = Value::from("<words>");
    }
    let name = |column: &Value| {
        column
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let columns: Vec<String> = value["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(name)
        .collect();
    for row in value["rows"].as_array_mut().into_iter().flatten() {
        for (at, cell) in row["cells"].as_array_mut().into_iter().flatten().enumerate() {
            let text = cell.as_str().unwrap_or_default();
            // Later events of a watch have no columns: there an age is what looks like one.
            let may = columns.get(at).is_none_or(|column| AGES.contains(&column.as_str()));
            if may && is_age(text) {
                *cell = Value::from("<age>");
            }
            if cell.as_str().is_some_and(|text| text.starts_with("10.0.")) {
                *cell = Value::from("<ip>");
            }
            if let Some(ports) = cell.as_str().and_then(without_node_port) {
                *cell = Value::from(ports);
            }
        }
    }
}

/// `80:31234/TCP` with its node port, which is a random one, masked.
fn without_node_port(text: &str) -> Option<String> {
    let (port, rest) = text.split_once(':')?;
    let (node_port, protocol) = rest.split_once('/')?;
    let numbers = [port, node_port].map(|number| number.parse::<u16>().is_ok());
    (numbers == [true, true]).then(|| format!("{port}:<port>/{protocol}"))
}

fn is_age(text: &str) -> bool {
    let unit = |c: char| matches!(c, 's' | 'm' | 'h' | 'd' | 'y');
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(unit)
        && text.chars().all(|c| c.is_ascii_digit() || unit(c))
}

/// Masks times of this run and uids in a text.
#[must_use]
pub fn mask_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = uid_length(rest) {
            out.push_str("<uid>");
            rest = &rest[length..];
        } else if let Some(length) = time_length(rest) {
            out.push_str("<time>");
            rest = &rest[length..];
        } else if let Some(tail) = rest.strip_prefix("esource version: ") {
            out.push_str("esource version: <rv>");
            rest = tail.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ' ' | '(' | ')'));
        } else if let Some(tail) = rest.strip_prefix("resourceVersion: \"") {
            out.push_str("resourceVersion: \"<rv>");
            rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some((_, tail)) = rest
            .strip_prefix("Invalid value: \"{")
            .and_then(|tail| tail.split_once("}\": "))
        {
            // The whole object, which has the order of keys that the patch left it in.
            out.push_str("Invalid value: <object>: ");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("Key: /").and_then(|tail| tail.split_once(',')) {
            out.push_str("Key: <key>,");
            rest = tail.1;
        } else if let Some(tail) = rest.strip_prefix("current: ") {
            out.push_str("current: <rv>");
            rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn uid_length(text: &str) -> Option<usize> {
    let candidate = text.get(..36)?;
    let fits = candidate.bytes().enumerate().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == b'-',
        _ => c.is_ascii_hexdigit() && !c.is_ascii_uppercase(),
    });
    fits.then_some(36)
}

/// Fixtures use times before 2026 only.
fn time_length(text: &str) -> Option<usize> {
    let candidate = text.get(..19)?;
    let shape = candidate.bytes().enumerate().all(|(at, c)| match at {
        4 | 7 => c == b'-',
        10 => c == b'T',
        13 | 16 => c == b':',
        _ => c.is_ascii_digit(),
    });
    if !shape || candidate < "2026" {
        return None;
    }
    let fraction = text[19..]
        .bytes()
        .take_while(|c| c.is_ascii_digit() || *c == b'.')
        .count();
    text[19 + fraction..].starts_with('Z').then_some(20 + fraction)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_masked_and_the_rest_is_not() {
        let mut value = json!({
            "metadata": {"name": "a-x2b4c", "generateName": "a-", "uid": "0e0d1c56-6a0c-4c39-8d4f-2f0b8b6f9d11", "resourceVersion": "12", "creationTimestamp": "2026-11-22T13:00:00Z"},
            "spec": {"clusterIP": "10.0.3.4", "clusterIPs": ["10.0.3.4"], "at": "2024-01-02T03:04:05Z"},
            "message": "too old resource version: 5 (263)",
        });
        mask(&mut value);
        assert_eq!(
            value,
            json!({
                "metadata": {"name": "a-<random>", "generateName": "a-", "uid": "<uid>", "resourceVersion": "<rv>", "creationTimestamp": "<time>"},
                "spec": {"clusterIP": "<ip>", "clusterIPs": ["<ip>"], "at": "2024-01-02T03:04:05Z"},
                "message": "too old resource version: <rv>",
            })
        );
    }
}
