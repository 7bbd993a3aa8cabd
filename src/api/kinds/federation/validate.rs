//! Validation of Clusters.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names};

use crate::validation::{At, non_negative, one_of, required_text, resources, scheduling, text};

/// Errors of the spec.
pub(super) fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    addresses(&spec.key("serverAddressByClientCIDRs"), &mut errors);
    let secret = spec.key("secretRef");
    if secret.is_set() {
        required_text(&secret.key("name"), names::dns1123_subdomain, &mut errors);
    }
    location(&spec.key("location"), &mut errors);
    text(&spec.key("region"), names::label_value, &mut errors);
    zones(&spec.key("zones"), &mut errors);
    scheduling::taints(&spec.key("taints"), &mut errors);
    resources::list(&spec.key("capacity"), &mut errors);
    errors
}

fn addresses(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_empty() {
        errors.push(at.required("at least one server address is needed"));
    }
    let mut seen = HashSet::new();
    for entry in at.items() {
        let (cidr, address) = (entry.key("clientCIDR"), entry.key("serverAddress"));
        if !cidr.text().is_empty() {
            text(&cidr, names::cidr, errors);
        }
        if !seen.insert(cidr.text()) {
            errors.push(cidr.duplicate());
        }
        if address.text().is_empty() {
            errors.push(address.required(""));
        } else if address.text().contains(char::is_whitespace) {
            errors.push(address.invalid("must be a host, host:port or URL"));
        }
    }
}

fn location(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    for (name, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
        let degrees = at.key(name);
        match degrees.value.as_f64() {
            None => errors.push(degrees.required("")),
            Some(value) if !(-limit..=limit).contains(&value) => {
                errors.push(degrees.invalid(&format!("must be between -{limit} and {limit}, inclusive")));
            }
            Some(_) => {}
        }
    }
}

fn zones(at: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for zone in at.items() {
        required_text(&zone, names::label_value, errors);
        if !seen.insert(zone.text()) {
            errors.push(zone.duplicate());
        }
    }
}

/// Errors of the status.
pub(super) fn status(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = HashSet::new();
    for condition in status.key("conditions").items() {
        let kind = condition.key("type");
        required_text(&kind, names::qualified_name, &mut errors);
        if !seen.insert(kind.text()) {
            errors.push(kind.duplicate());
        }
        one_of(&condition.key("status"), &["False", "True", "Unknown"], &mut errors);
    }
    non_negative(&status.key("nodes"), &mut errors);
    for amounts in ["capacity", "allocatable", "requested"] {
        resources::list(&status.key(amounts), &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(value: &Value) -> Vec<String> {
        spec(&At::new(value, "spec")).iter().map(ToString::to_string).collect()
    }

    fn reached_from(cidr: &str) -> Value {
        json!({"serverAddressByClientCIDRs": [{"clientCIDR": cidr, "serverAddress": "localhost:8888"}]})
    }

    #[test]
    fn client_networks_are_networks_or_empty() {
        for good in ["0.0.0.0/0", "", "0.0.0.0/32", "fd00::/8"] {
            assert_eq!(problems(&reached_from(good)), Vec::<String>::new(), "{good}");
        }
        for bad in ["0.0.0.0", "256.0.0.0/16", "0.0.0/16", "0.0.0.0/33"] {
            let expected = format!(
                "spec.serverAddressByClientCIDRs[0].clientCIDR: Invalid value: {bad:?}: \
                 must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            );
            assert_eq!(problems(&reached_from(bad)), [expected]);
        }
    }

    #[test]
    fn a_cluster_has_an_address() {
        for absent in [json!({}), json!({"serverAddressByClientCIDRs": []})] {
            let expected = "spec.serverAddressByClientCIDRs: Required value: at least one server address is needed";
            assert_eq!(problems(&absent), [expected]);
        }
    }

    #[test]
    fn newer_fields_are_checked() {
        let table = [
            (
                json!({"location": {"latitude": 91.0, "longitude": 0.0}}),
                "spec.location.latitude: Invalid value: 91.0: must be between -90 and 90, inclusive",
            ),
            (
                json!({"location": {"latitude": 1.0}}),
                "spec.location.longitude: Required value",
            ),
            (json!({"zones": ["a", "a"]}), "spec.zones[1]: Duplicate value: \"a\""),
            (
                json!({"taints": [{"key": "k", "effect": "Never"}]}),
                "spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
            (
                json!({"capacity": {"cpu": "-1"}}),
                "spec.capacity[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
        ];
        for (extra, expected) in table {
            let mut value = reached_from("");
            for (key, field) in extra.as_object().unwrap() {
                value[key] = field.clone();
            }
            assert_eq!(problems(&value), [expected]);
        }
    }

    #[test]
    fn conditions_have_a_known_status_and_come_once() {
        let value = json!({"conditions": [{"type": "Ready", "status": "Maybe"}, {"type": "Ready", "status": "True"}]});
        let errors = status(&At::new(&value, "status"));
        assert_eq!(
            errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
            ["status.conditions[0].status", "status.conditions[1].type"]
        );
    }
}
