//! The quality of service class of a pod, from the requests and limits of its containers.

use apimachinery::Object;
use serde_json::Value;

use crate::json::items;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn of_service(spec: &Object) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let containers = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|key| items(&spec[key]));
    for container in containers {
        let resources = &container["resources"];
        let named = |kind: &str| ["cpu", "memory"].map(|name| amount(&resources[kind][name]));
        let (requests, limits) = (named("requests"), named("limits"));
        any |= requests.iter().chain(&limits).any(Option::is_some);
        guaranteed &= limits.iter().all(Option::is_some) && requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// An amount above zero, in canonical form.
fn amount(value: &Value) -> Option<String> {
    let text = crate::printers::scalar(value);
    let number = text
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .next()
        .unwrap_or_default();
    number.contains(|c: char| ('1'..='9').contains(&c)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_follow_requests_and_limits() {
        let table = [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "100m"}}), "Burstable"),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
                "Burstable",
            ),
            (json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}), "Burstable"),
        ];
        for (resources, expected) in table {
            assert_eq!(
                of_service(&json!({"containers": [{"resources": resources}]})),
                expected,
                "{resources}"
            );
        }
    }
}
