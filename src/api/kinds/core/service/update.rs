//! What a change of a Service keeps although the client did not repeat it, and what it drops because it has become
//! meaningless.

use std::collections::{BTreeMap, HashSet};

use apimachinery::Object;
use serde_json::{Value, json};

use super::{externally_accessible, families, kind, needs_cluster_ip, needs_health_check, needs_node_port};
use crate::json::{int, items, items_mut, map_mut, put, remove, text};

/// Old clients know one address only.
pub(super) fn plural_from_singular(spec: &mut Value) {
    let ip = text(&spec["clusterIP"]).to_owned();
    if !ip.is_empty() && items(&spec["clusterIPs"]).is_empty() {
        put(spec, "clusterIPs", json!([ip]));
    }
}

/// Carries allocated values over to the new object and drops those its type has no use for.
pub(super) fn carry_over(service: &mut Object, old: &Object) {
    let before = &old["spec"];
    let spec = map_mut(service, "spec");
    keep_allocated(spec, before);
    sync_addresses(spec, before);
    families::infer(spec, Some(before));
    drop_meaningless(spec, before);
    if kind(spec) != "LoadBalancer" {
        put(service, "status", json!({"loadBalancer": {}}));
    }
}

fn keep_allocated(spec: &mut Value, before: &Value) {
    if needs_cluster_ip(before) && needs_cluster_ip(spec) {
        if text(&spec["clusterIP"]).is_empty() {
            put(spec, "clusterIP", before["clusterIP"].clone());
        }
        if items(&spec["clusterIPs"]).is_empty() {
            put(spec, "clusterIPs", before["clusterIPs"].clone());
        }
    }
    if needs_node_port(before) && needs_node_port(spec) {
        let ports = |spec: &Value| -> HashSet<i64> {
            items(&spec["ports"])
                .iter()
                .map(|p| int(&p["nodePort"]))
                .filter(|port| *port != 0)
                .collect()
        };
        let used: HashSet<i64> = ports(before).intersection(&ports(spec)).copied().collect();
        let by_name: BTreeMap<&str, i64> = items(&before["ports"])
            .iter()
            .map(|p| (text(&p["name"]), int(&p["nodePort"])))
            .collect();
        for port in items_mut(spec, "ports").filter(|p| int(&p["nodePort"]) == 0) {
            let known = by_name.get(text(&port["name"])).copied().unwrap_or_default();
            if known != 0 && !used.contains(&known) {
                put(port, "nodePort", known.into());
            }
        }
    }
    if needs_health_check(before) && needs_health_check(spec) && int(&spec["healthCheckNodePort"]) == 0 {
        put(spec, "healthCheckNodePort", before["healthCheckNodePort"].clone());
    }
}

/// A client that changed the one address it knows means both fields.
fn sync_addresses(spec: &mut Value, before: &Value) {
    let (ip, old_ip) = (text(&spec["clusterIP"]).to_owned(), text(&before["clusterIP"]));
    if ip != old_ip && spec["clusterIPs"] == before["clusterIPs"] {
        put(
            spec,
            "clusterIPs",
            if ip.is_empty() { Value::Null } else { json!([ip]) },
        );
    }
}

fn drop_meaningless(spec: &mut Value, before: &Value) {
    let new_type = |wanted: fn(&Value) -> bool, spec: &Value| wanted(before) && !wanted(spec);
    if new_type(needs_cluster_ip, spec) {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            remove_same(spec, before, name);
        }
    }
    if kind(spec) == "ExternalName" && kind(before) != "ExternalName" {
        remove_same(spec, before, "internalTrafficPolicy");
    }
    if new_type(needs_node_port, spec) {
        let ports = |spec: &Value| {
            items(&spec["ports"])
                .iter()
                .map(|p| int(&p["nodePort"]))
                .collect::<HashSet<_>>()
        };
        if ports(spec) == ports(before) {
            for port in items_mut(spec, "ports") {
                remove(port, "nodePort");
            }
        }
    }
    if new_type(needs_health_check, spec) {
        remove_same(spec, before, "healthCheckNodePort");
    }
    if kind(before) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        remove_same(spec, before, "allocateLoadBalancerNodePorts");
        remove_same(spec, before, "loadBalancerClass");
    }
    if new_type(externally_accessible, spec) {
        remove_same(spec, before, "externalTrafficPolicy");
    }
}

/// Drops a value the client merely repeated; one it changed is for validation to refuse.
fn remove_same(spec: &mut Value, before: &Value, name: &str) {
    if spec[name] == before[name] {
        remove(spec, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(spec: Value, old: Value) -> Value {
        let mut service = json!({"spec": spec});
        carry_over(&mut service, &json!({"spec": old}));
        service["spec"].take()
    }

    #[test]
    fn allocated_values_survive_a_replace_that_leaves_them_out() {
        let old = json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "a", "port": 80, "nodePort": 30080}]});
        let spec = updated(
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 81}, {"name": "b", "port": 82}]}),
            old,
        );
        assert_eq!(spec["clusterIP"], "10.0.0.1");
        assert_eq!(spec["clusterIPs"], json!(["10.0.0.1"]));
        assert_eq!(spec["ports"][0]["nodePort"], 30080);
        assert!(spec["ports"][1].get("nodePort").is_none());
    }

    #[test]
    fn a_change_of_type_drops_what_has_no_meaning_any_more() {
        let old = json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80, "nodePort": 30080}]});
        let mut spec = old.clone();
        spec["type"] = "ClusterIP".into();
        let spec = updated(spec, old);
        assert!(spec.get("externalTrafficPolicy").is_none());
        assert!(spec.get("allocateLoadBalancerNodePorts").is_none());
        assert!(spec["ports"][0].get("nodePort").is_none());
        assert_eq!(spec["clusterIP"], "10.0.0.1");
    }

    #[test]
    fn a_service_that_becomes_a_name_loses_its_address() {
        let old = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
        let mut spec = old.clone();
        spec["type"] = "ExternalName".into();
        assert_eq!(updated(spec, old), json!({"type": "ExternalName"}));
    }
}
