//! IP families of a Service in a cluster whose own family is IPv4.

use serde_json::{Value, json};

use super::needs_cluster_ip;
use crate::json::{absent, empty, items, put, text};

/// Fills in policy and families from what the client said about addresses.
pub(super) fn infer(spec: &mut Value, old: Option<&Value>) {
    if !needs_cluster_ip(spec) {
        return;
    }
    let for_names_only = spec["clusterIP"] == "None" && empty(&spec["selector"]);
    if absent(&spec["ipFamilyPolicy"]) {
        let before = old
            .map(|old| text(&old["ipFamilyPolicy"]))
            .filter(|policy| !policy.is_empty());
        let policy = before.unwrap_or(if for_names_only {
            "RequireDualStack"
        } else {
            "SingleStack"
        });
        put(spec, "ipFamilyPolicy", policy.into());
    }
    let mut families = items(&spec["ipFamilies"]).to_vec();
    for ip in items(&spec["clusterIPs"])
        .iter()
        .skip(families.len())
        .filter(|ip| *ip != "None")
    {
        families.push(if text(ip).contains(':') { "IPv6" } else { "IPv4" }.into());
    }
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if for_names_only && families.len() == 1 && spec["ipFamilyPolicy"] != "SingleStack" {
        families.push(if families[0] == "IPv4" {
            json!("IPv6")
        } else {
            json!("IPv4")
        });
    }
    put(spec, "ipFamilies", families.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_addresses() {
        let table = [
            (json!({"type": "ClusterIP"}), json!("SingleStack"), json!(["IPv4"])),
            (json!({"type": "ExternalName"}), json!(null), json!(null)),
            (
                json!({"type": "ClusterIP", "clusterIP": "None"}),
                json!("RequireDualStack"),
                json!(["IPv4", "IPv6"]),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}),
                json!("SingleStack"),
                json!(["IPv4"]),
            ),
            (
                json!({"type": "ClusterIP", "clusterIPs": ["fd00::1"]}),
                json!("SingleStack"),
                json!(["IPv6"]),
            ),
        ];
        for (mut spec, policy, families) in table {
            let given = spec.clone();
            infer(&mut spec, None);
            assert_eq!(
                (&spec["ipFamilyPolicy"], &spec["ipFamilies"]),
                (&policy, &families),
                "{given}"
            );
        }
    }
}
