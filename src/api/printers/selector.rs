//! Label selectors and label maps as text.

use serde_json::Value;

use crate::json::{entries, items, text};

/// A label map as `a=b,c=d`, sorted; `<none>` if empty.
pub(crate) fn format_labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = entries(labels).map(|(k, v)| format!("{k}={}", text(v))).collect();
    if pairs.is_empty() {
        return "<none>".to_owned();
    }
    pairs.sort_unstable();
    pairs.join(",")
}

/// A LabelSelector as text, `<none>` if it is absent or empty.
pub(crate) fn format_label_selector(selector: &Value) -> String {
    let text = selector_string(selector);
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// A LabelSelector in the syntax of `kubectl -l`, requirements sorted by key.
pub(crate) fn selector_string(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = entries(&selector["matchLabels"])
        .map(|(k, v)| (k.as_str(), format!("{k}={}", text(v))))
        .collect();
    parts.extend(
        items(&selector["matchExpressions"])
            .iter()
            .map(|e| (text(&e["key"]), expression(e))),
    );
    parts.sort_by(|a, b| a.0.cmp(b.0));
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

fn expression(expression: &Value) -> String {
    let key = text(&expression["key"]);
    let values = || {
        let mut values: Vec<&str> = items(&expression["values"]).iter().map(text).collect();
        values.sort_unstable();
        values.join(",")
    };
    match text(&expression["operator"]) {
        "In" => format!("{key} in ({})", values()),
        "NotIn" => format!("{key} notin ({})", values()),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_print_sorted_in_selector_syntax() {
        let selector = json!({
            "matchLabels": {"z": "1", "a": "2"},
            "matchExpressions": [
                {"key": "m", "operator": "In", "values": ["y", "x"]},
                {"key": "n", "operator": "NotIn", "values": ["x"]},
                {"key": "b", "operator": "Exists"},
                {"key": "c", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(format_label_selector(&selector), "a=2,b,!c,m in (x,y),n notin (x),z=1");
        assert_eq!(format_label_selector(&json!({})), "<none>");
        assert_eq!(format_label_selector(&Value::Null), "<none>");
    }

    #[test]
    fn labels_print_sorted() {
        assert_eq!(format_labels(&json!({"b": "2", "a": "1"})), "a=1,b=2");
        assert_eq!(format_labels(&Value::Null), "<none>");
    }
}
