//! Cells of the tables that `kubectl get` prints.

pub(crate) mod pod;
mod selector;

use apimachinery::Object;
use jiff::Timestamp;
use serde_json::Value;

use crate::json::{items, text};

pub(crate) use selector::{format_label_selector, format_labels, selector_string};

/// The cell that names the object.
pub(crate) fn name(object: &Object) -> Value {
    object["metadata"]["name"].as_str().unwrap_or_default().into()
}

/// The cell that says how old the object is.
pub(crate) fn age(object: &Object, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The row of kinds that have no table of their own: name and time of creation.
pub(crate) fn created_at(object: &Object) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

/// The time since a timestamp, for people; `<unknown>` if there is none.
pub(crate) fn since(timestamp: &Value, now: Timestamp) -> String {
    match time(timestamp) {
        Some(then) => human_duration(seconds_between(then, now)),
        None => "<unknown>".to_owned(),
    }
}

/// The timestamp, if there is a valid one.
pub(crate) fn time(timestamp: &Value) -> Option<Timestamp> {
    timestamp.as_str()?.parse().ok()
}

/// Seconds from one time to another; parts of a second are dropped towards zero.
pub(crate) fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

/// A duration in seconds with the two units that matter, as kubectl shows ages.
pub(crate) fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

fn two(high: i64, high_unit: &str, low: i64, low_unit: &str) -> String {
    if low == 0 {
        format!("{high}{high_unit}")
    } else {
        format!("{high}{high_unit}{low}{low_unit}")
    }
}

/// Names and images of the containers of a pod template, as two cells.
pub(crate) fn container_cells(template: &Value) -> [Value; 2] {
    let join = |key: &str| {
        items(&template["spec"]["containers"])
            .iter()
            .map(|c| text(&c[key]))
            .collect::<Vec<_>>()
            .join(",")
            .into()
    };
    [join("name"), join("image")]
}

/// Addresses of a load balancer status: sorted, once each.
pub(crate) fn load_balancer_addresses(status: &Value) -> String {
    let mut addresses: Vec<&str> = items(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|i| {
            if text(&i["ip"]).is_empty() {
                text(&i["hostname"])
            } else {
                text(&i["ip"])
            }
        })
        .filter(|a| !a.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

/// The first few items of a list, and how many more there are.
pub(crate) fn first_and_more(all: &[String], max: usize) -> String {
    if all.len() > max {
        format!("{} + {} more...", all[..max].join(","), all.len() - max)
    } else {
        all.join(",")
    }
}

/// An int-or-string or a quantity as text.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The text, or a stand-in for an empty one.
pub(crate) fn or<'a>(text: &'a str, stand_in: &'a str) -> &'a str {
    if text.is_empty() { stand_in } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let table = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (48 * 3600 - 1, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86400, "8d"),
            (729 * 86400, "729d"),
            (730 * 86400, "2y"),
            (731 * 86400, "2y1d"),
            (365 * 8 * 86400, "8y"),
        ];
        for (seconds, expected) in table {
            assert_eq!(human_duration(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn an_object_without_creation_time_is_of_unknown_age() {
        assert_eq!(age(&json!({"metadata": {}}), Timestamp::UNIX_EPOCH), "<unknown>");
    }

    #[test]
    fn load_balancer_addresses_are_sorted_and_unique() {
        let status = json!({"loadBalancer": {"ingress": [{"hostname": "z"}, {"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}});
        assert_eq!(load_balancer_addresses(&status), "10.0.0.1,z");
    }
}
