//! What a member cluster fills into Services: cluster IPs and node ports.

use std::{net::IpAddr, sync::Arc};

use apimachinery::{
    Object,
    field::{self, ErrorList},
    status::Status,
};
use serde_json::{Value, json};

use super::allocator::{Allocator, Held, Refusal};
use crate::registry::{Resource, metadata};

/// What a write has taken and gives back unless it is kept.
#[derive(Debug, Default)]
pub struct Reserved {
    allocator: Option<Arc<Allocator>>,
    taken: Held,
    /// What the object had before and has no more.
    leaves: Held,
}

impl Reserved {
    /// The write succeeded.
    pub fn keep(mut self) {
        if let Some(allocator) = self.allocator.take() {
            allocator.release(&self.leaves);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(allocator) = &self.allocator {
            allocator.release(&self.taken);
        }
    }
}

fn kind(spec: &Value) -> &str {
    spec["type"].as_str().unwrap_or("ClusterIP")
}

fn needs_address(spec: &Value) -> bool {
    kind(spec) != "ExternalName"
}

fn needs_ports(spec: &Value) -> bool {
    match kind(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true),
        _ => false,
    }
}

fn needs_health_port(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// Carries over from the old Service what the new one leaves open.
pub fn inherit(object: &mut Object, old: &Object) {
    let (was, is) = (&old["spec"], &mut object["spec"]);
    if needs_address(was) && needs_address(is) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let unset = is
                .get(key)
                .is_none_or(|v| v.is_null() || v.as_str() == Some("") || v.as_array().is_some_and(Vec::is_empty));
            match was.get(key) {
                Some(value) if unset => is[key] = value.clone(),
                _ => {}
            }
        }
    }
    if needs_ports(was) && needs_ports(is) {
        let before: Vec<(Value, Value)> = was["ports"].as_array().map_or_else(Vec::new, |ports| {
            ports
                .iter()
                .map(|p| (p["name"].clone(), p["nodePort"].clone()))
                .collect()
        });
        for port in is["ports"].as_array_mut().into_iter().flatten() {
            let unset = port["nodePort"].as_u64().unwrap_or(0) == 0;
            let same = before
                .iter()
                .find(|(name, number)| *name == port["name"] && number.is_u64());
            match same {
                Some((_, number)) if unset => port["nodePort"] = number.clone(),
                _ => clean(port),
            }
        }
    }
    if needs_health_port(was) && needs_health_port(is) && is["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        is["healthCheckNodePort"] = was["healthCheckNodePort"].clone();
    }
    prune(object);
}

/// Indexing a missing key puts a null there.
fn clean(port: &mut Value) {
    if let Some(fields) = port.as_object_mut() {
        fields.retain(|_, v| !v.is_null());
    }
}

fn prune(object: &mut Object) {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|_, v| !v.is_null());
    }
    for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
        clean(port);
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|_, v| !v.is_null());
    }
}

/// Fills in what is open, and takes what is named.
///
/// # Errors
/// 422 for what is out of range, taken or used up.
pub fn allocate(
    allocator: &Arc<Allocator>,
    resource: &Resource,
    object: &mut Object,
    old: Option<&Object>,
) -> Result<Reserved, Status> {
    let before = old.map(Held::of).unwrap_or_default();
    let mut reserved = Reserved {
        allocator: Some(allocator.clone()),
        taken: Held::default(),
        leaves: Held::default(),
    };
    let mut errors = ErrorList::new();
    if needs_address(&object["spec"]) {
        address(allocator, object, &before, &mut reserved, &mut errors);
    } else if old.is_some_and(|old| needs_address(&old["spec"])) {
        drop_addresses(object, old);
    }
    if needs_ports(&object["spec"]) {
        ports(allocator, object, &before, &mut reserved, &mut errors);
    }
    if needs_health_port(&object["spec"]) && object["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        match allocator.any_port() {
            Ok(port) => {
                reserved.taken.ports.insert(port);
                object["spec"]["healthCheckNodePort"] = port.into();
            }
            Err(_) => errors.push(field::internal(
                "spec.healthCheckNodePort",
                "failed to allocate a healthCheckNodePort",
            )),
        }
    }
    prune(object);
    if errors.is_empty() {
        reserved.leaves = before.without(&Held::of(object));
        return Ok(reserved);
    }
    Err(field::to_status(
        resource.def.group,
        resource.def.kind,
        metadata::text(object, "name"),
        &errors,
    ))
}

fn drop_addresses(object: &mut Object, old: Option<&Object>) {
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        // Only what was carried along; a new value is for validation to refuse.
        if old.is_some_and(|old| old["spec"].get(key) == spec.get(key)) {
            spec.shift_remove(key);
        }
    }
}

fn address(allocator: &Allocator, object: &mut Object, before: &Held, reserved: &mut Reserved, errors: &mut ErrorList) {
    let spec = &mut object["spec"];
    let listed = spec["clusterIPs"]
        .as_array()
        .and_then(|all| all.first())
        .and_then(Value::as_str)
        .unwrap_or_default();
    let single = spec["clusterIP"].as_str().unwrap_or_default();
    let wanted = if single.is_empty() {
        listed.to_owned()
    } else {
        single.to_owned()
    };
    let text = match wanted.as_str() {
        "None" => wanted,
        "" => match allocator.any_address() {
            Ok(address) => {
                reserved.taken.addresses.insert(address);
                address.to_string()
            }
            Err(_) => {
                errors.push(field::internal(
                    "spec.clusterIPs",
                    "failed to allocate a serviceIP: range is full",
                ));
                return;
            }
        },
        given => {
            let Ok(parsed) = given.parse::<IpAddr>() else { return };
            if !before.addresses.contains(&parsed) {
                let refused = |why: &str| {
                    field::invalid(
                        "spec.clusterIPs",
                        &json!([given]),
                        &format!("failed to allocate IP {given}: {why}"),
                    )
                };
                match allocator.take_address(parsed) {
                    Ok(()) => {
                        reserved.taken.addresses.insert(parsed);
                    }
                    Err(Refusal::OutOfRange) => {
                        let range = allocator.range();
                        errors.push(refused(&format!(
                            "the provided IP ({given}) is not in the valid range. The range of valid IPs is {range}"
                        )));
                    }
                    Err(_) => errors.push(refused("provided IP is already allocated")),
                }
            }
            wanted
        }
    };
    let family = if text.contains(':') || (text == "None" && allocator.range().addr().is_ipv6()) {
        "IPv6"
    } else {
        "IPv4"
    };
    spec["clusterIP"] = text.as_str().into();
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        spec["clusterIPs"] = json!([text]);
    }
    if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
        spec["ipFamilies"] = json!([family]);
    }
    if spec["ipFamilyPolicy"].as_str().is_none_or(str::is_empty) {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
}

fn ports(allocator: &Allocator, object: &mut Object, before: &Held, reserved: &mut Reserved, errors: &mut ErrorList) {
    let mut shared: Vec<(Value, u16)> = Vec::new();
    for (index, port) in object["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let path = format!("spec.ports[{index}].nodePort");
        let number = port["nodePort"].as_u64().unwrap_or(0);
        let protocol = port["protocol"].clone();
        if number == 0 {
            // One number serves a port of several protocols, as DNS.
            let other = shared.iter().find(|(name, _)| *name == port["port"]).map(|(_, n)| *n);
            match other.map_or_else(|| allocator.any_port(), Ok) {
                Ok(free) => {
                    reserved.taken.ports.insert(free);
                    port["nodePort"] = free.into();
                    shared.push((port["port"].clone(), free));
                }
                Err(_) => errors.push(field::internal(path, "failed to allocate a nodePort: range is full")),
            }
            continue;
        }
        let Ok(wanted) = u16::try_from(number) else { continue };
        if before.ports.contains(&wanted) || reserved.taken.ports.contains(&wanted) {
            continue;
        }
        let _ = protocol;
        match allocator.take_port(wanted) {
            Ok(()) => {
                reserved.taken.ports.insert(wanted);
                shared.push((port["port"].clone(), wanted));
            }
            Err(Refusal::OutOfRange) => {
                let range = allocator.ports();
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    range.first, range.last
                );
                errors.push(field::invalid(path, &number.into(), &why));
            }
            Err(_) => errors.push(field::invalid(
                path,
                &number.into(),
                "provided port is already allocated",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortRange;

    fn allocator() -> Arc<Allocator> {
        Arc::new(Allocator::new(
            "10.0.0.0/24".parse().unwrap(),
            PortRange {
                first: 30000,
                last: 30009,
            },
        ))
    }

    fn resource() -> Resource {
        Resource::for_tests("", "v1", "services")
    }

    #[test]
    fn a_node_port_service_gets_an_address_and_ports_and_gives_them_back() {
        let all = allocator();
        let mut service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30005}]}});
        let reserved = allocate(&all, &resource(), &mut service, None).unwrap();
        assert!(service["spec"]["clusterIP"].as_str().unwrap().starts_with("10.0.0."));
        assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
        assert_eq!(service["spec"]["ports"][1]["nodePort"], 30005);
        assert_eq!(all.take_port(30005), Err(Refusal::Taken));
        drop(reserved);
        assert_eq!(all.take_port(30005), Ok(()), "a write that failed keeps nothing");
    }

    #[test]
    fn an_update_keeps_what_it_leaves_open_and_frees_what_it_drops() {
        let all = allocator();
        let mut service =
            json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}]}});
        allocate(&all, &resource(), &mut service, None).unwrap().keep();
        let port = service["spec"]["ports"][0]["nodePort"].clone();
        let mut next =
            json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"name": "a", "port": 8080}]}});
        inherit(&mut next, &service);
        assert_eq!(next["spec"]["ports"][0]["nodePort"], port);
        assert_eq!(next["spec"]["clusterIP"], service["spec"]["clusterIP"]);
        let mut plain =
            json!({"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "ports": [{"name": "a", "port": 8080}]}});
        inherit(&mut plain, &next);
        allocate(&all, &resource(), &mut plain, Some(&next)).unwrap().keep();
        assert_eq!(all.take_port(u16::try_from(port.as_u64().unwrap()).unwrap()), Ok(()));
    }

    #[test]
    fn a_taken_address_is_refused_with_kubes_words() {
        let all = allocator();
        let mut service =
            json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}});
        allocate(&all, &resource(), &mut service.clone(), None).unwrap().keep();
        let status = allocate(&all, &resource(), &mut service, None).unwrap_err();
        assert_eq!(status.code, 422);
        assert!(
            status
                .message
                .contains("failed to allocate IP 10.0.0.9: provided IP is already allocated"),
            "{}",
            status.message
        );
    }
}
