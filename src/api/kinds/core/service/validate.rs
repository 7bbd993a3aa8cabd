//! Validation of Services.

use std::{collections::HashSet, net::IpAddr};

use apimachinery::{Object, field::ErrorList, names};
use serde_json::{Value, json};

use super::{externally_accessible, headless, needs_health_check};
use crate::validation::{
    At, container::port_number, endpoint_ip, labels, one_of, one_of_if_set, port_number_or_name, required_text, text,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Longest time a client sticks to an endpoint: a day, in seconds.
const AFFINITY_MAX: i64 = 86_400;

/// Errors of a Service, new or changed.
pub(super) fn validate(service: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::field(service, "spec");
    let kind = spec.key("type");
    let ports = spec.key("ports");
    if ports.is_empty() && !headless(spec.value) && kind.text() != "ExternalName" {
        errors.push(ports.required(""));
    }
    by_type(&spec, &mut errors);
    self::ports(&spec, &mut errors);
    labels(&spec.key("selector"), &mut errors);
    session_affinity(&spec, &mut errors);
    cluster_ips(&spec, &mut errors);
    for ip in spec.key("externalIPs").items() {
        endpoint_ip(&ip, &mut errors);
    }
    one_of(&kind, TYPES, &mut errors);
    node_ports(&spec, &mut errors);
    source_ranges(service, &spec, &mut errors);
    load_balancer(&spec, &mut errors);
    external_traffic(&spec, &mut errors);
    let internal = spec.key("internalTrafficPolicy");
    if !internal.is_set() && ["NodePort", "LoadBalancer", "ClusterIP"].contains(&kind.text()) {
        errors.push(internal.required(""));
    }
    one_of_if_set(&internal, &["Cluster", "Local"], &mut errors);
    let distribution = spec.key("trafficDistribution");
    one_of_if_set(
        &distribution,
        &["PreferClose", "PreferSameZone", "PreferSameNode"],
        &mut errors,
    );
    errors
}

fn by_type(spec: &At<'_>, errors: &mut ErrorList) {
    match spec.key("type").text() {
        kind @ ("LoadBalancer" | "NodePort") if headless(spec.value) => {
            let ip = spec.key("clusterIPs").index(0);
            errors.push(ip.invalid(&format!("may not be set to 'None' for {kind} services")));
        }
        "ExternalName" => {
            for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.key(name).is_empty() {
                    errors.push(spec.key(name).forbidden("may not be set for ExternalName services"));
                }
            }
            let name = spec.key("externalName");
            let host = name.text().strip_suffix('.').unwrap_or(name.text());
            if host.is_empty() {
                errors.push(name.required(""));
            }
            if !host.is_empty() {
                let problems = names::dns1123_subdomain(host);
                errors.extend(problems.iter().map(|p| name.invalid_value(&host.into(), p)));
            }
        }
        _ => {}
    }
}

fn ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.key("ports");
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.key("name");
        if !name.text().is_empty() {
            text(&name, names::dns1123_label, errors);
            if !seen.insert(name.text()) {
                errors.push(name.duplicate());
            }
        } else if ports.len() > 1 {
            errors.push(name.required(""));
        }
        let number = At {
            value: &port.key("port").int().into(),
            path: port.key("port").path,
        };
        port_number(&number, errors);
        one_of(&port.key("protocol"), PROTOCOLS, errors);
        port_number_or_name(&port.key("targetPort"), errors);
        if port.key("appProtocol").is_set() {
            text(&port.key("appProtocol"), names::qualified_name, errors);
        }
    }
}

fn node_ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.key("ports");
    if spec.key("type").text() == "ClusterIP" {
        for port in ports
            .items()
            .map(|port| port.key("nodePort"))
            .filter(|port| port.int() != 0)
        {
            errors.push(port.forbidden("may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let node_port = port.key("nodePort");
        if node_port.int() != 0 && !seen.insert((port.key("protocol").text(), node_port.int())) {
            errors.push(node_port.duplicate());
        }
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let (protocol, number) = (port.key("protocol").text(), port.key("port").int());
        if !seen.insert((protocol, number)) {
            let shown = json!({"Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number,
                "TargetPort": 0, "NodePort": 0});
            errors.push(apimachinery::field::duplicate(port.path.as_str(), &shown));
        }
    }
}

fn session_affinity(spec: &At<'_>, errors: &mut ErrorList) {
    one_of(&spec.key("sessionAffinity"), &["ClientIP", "None"], errors);
    let config = spec.key("sessionAffinityConfig");
    match spec.key("sessionAffinity").text() {
        "ClientIP" => {
            let timeout = config.key("clientIP").key("timeoutSeconds");
            if !timeout.is_set() {
                errors.push(timeout.required("when session affinity type is ClientIP"));
            } else if !(1..=AFFINITY_MAX).contains(&timeout.int()) {
                errors.push(timeout.invalid(&format!("must be greater than 0 and less than {AFFINITY_MAX}")));
            }
        }
        "None" if config.is_set() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn family(ip: &str) -> &'static str {
    match ip.parse() {
        Ok(IpAddr::V6(_)) => "IPv6",
        _ => "IPv4",
    }
}

fn cluster_ips(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.key("type").text() == "ExternalName" {
        return;
    }
    let (ip, ips, families) = (spec.key("clusterIP"), spec.key("clusterIPs"), spec.key("ipFamilies"));
    let first = ips.index(0);
    match (ip.text().is_empty(), ips.len()) {
        (false, 0) => errors.push(ips.required("")),
        (false, _) if first.text() != ip.text() => errors.push(ips.invalid("first value must match `clusterIP`")),
        (true, 1..) => errors.push(ips.invalid("must be empty when `clusterIP` is not specified")),
        _ => {}
    }
    let mut seen = HashSet::new();
    for family in families.items() {
        if !["IPv4", "IPv6"].contains(&family.text()) {
            errors.push(family.not_supported(&["IPv4", "IPv6"]));
        }
        if !seen.insert(family.text()) {
            errors.push(family.duplicate());
        }
    }
    let policies = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of_if_set(&spec.key("ipFamilyPolicy"), policies, errors);
    let before = errors.len();
    for (index, one) in ips.items().enumerate() {
        if index == 0 && one.text() == "None" {
            if ips.len() > 1 {
                errors.push(ips.invalid("'None' must be the first and only value"));
            }
        } else {
            text(&one, names::ip_legacy, errors);
        }
    }
    let well_formed = errors.len() == before;
    if ips.len() > 2 {
        errors.push(ips.invalid("may only hold up to 2 values"));
    }
    if !well_formed || first.text() == "None" {
        return;
    }
    if ips.len() == 2 && family(first.text()) == family(ips.index(1).text()) {
        errors.push(ips.invalid("may specify no more than one IP for each IP family"));
    }
    for (index, (one, wanted)) in ips.items().zip(families.items()).enumerate() {
        if ["IPv4", "IPv6"].contains(&wanted.text()) && family(one.text()) != wanted.text() {
            let detail = format!(
                "expected an {} value as indicated by `ipFamilies[{index}]`",
                wanted.text()
            );
            errors.push(one.invalid(&detail));
        }
    }
}

fn source_ranges(service: &Object, spec: &At<'_>, errors: &mut ErrorList) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    const BALANCERS_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = spec.key("type").text() == "LoadBalancer";
    let ranges = At::new(
        spec.key("loadBalancerSourceRanges").value,
        "spec.LoadBalancerSourceRanges",
    );
    let annotation = At::new(&service["metadata"]["annotations"], "metadata.annotations").entry(ANNOTATION);
    if !ranges.is_empty() {
        if !balanced {
            errors.push(ranges.forbidden(BALANCERS_ONLY));
        }
        for range in ranges.items() {
            let shown: Value = range.text().trim().into();
            text(&At::new(&shown, range.path.as_str()), names::cidr, errors);
        }
    } else if annotation.is_set() {
        if !balanced {
            errors.push(annotation.forbidden(BALANCERS_ONLY));
        }
        for range in annotation
            .text()
            .split(',')
            .map(str::trim)
            .filter(|_| !annotation.text().trim().is_empty())
        {
            text(&At::new(&range.into(), annotation.path.as_str()), names::cidr, errors);
        }
    }
}

fn load_balancer(spec: &At<'_>, errors: &mut ErrorList) {
    let allocate = spec.key("allocateLoadBalancerNodePorts");
    let class = spec.key("loadBalancerClass");
    if spec.key("type").text() == "LoadBalancer" {
        if !allocate.is_set() {
            errors.push(At::new(&Value::Null, "allocateLoadBalancerNodePorts").required(""));
        }
        if class.is_set() {
            text(&class, names::qualified_name, errors);
        }
        return;
    }
    for field in [allocate, class] {
        if field.is_set() {
            errors.push(field.forbidden("may only be used when `type` is 'LoadBalancer'"));
        }
    }
}

fn external_traffic(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.key("externalTrafficPolicy");
    if externally_accessible(spec.value) {
        one_of(&policy, &["Cluster", "Local"], errors);
    } else if !policy.text().is_empty() {
        errors.push(policy.invalid("may only be set for externally-accessible services"));
    }
    let check = spec.key("healthCheckNodePort");
    if needs_health_check(spec.value) {
        // The server allocates one if there is none.
        if check.int() != 0 {
            port_number(&check, errors);
        }
    } else if check.int() != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(check.invalid(detail));
    }
}

/// Errors of a change: addresses, families and class stay what they are.
pub(super) fn validate_change(service: &Object, old: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let (new, before) = (At::field(service, "spec"), At::field(old, "spec"));
    let external = |spec: &At<'_>| spec.key("type").text() == "ExternalName";
    if !external(&new) && !external(&before) {
        let both_headless = headless(new.value) && headless(before.value);
        if !both_headless {
            addresses_stay(&new, &before, &mut errors);
        }
        if !headless(new.value) && !headless(before.value) {
            families_stay(&new, &before, &mut errors);
        }
    }
    let balanced = |spec: &At<'_>| spec.key("type").text() == "LoadBalancer";
    let class = new.key("loadBalancerClass");
    if balanced(&new) && balanced(&before) && class.value != before.key("loadBalancerClass").value {
        errors.push(class.invalid("may not change once set"));
    }
    let check = new.key("healthCheckNodePort");
    if needs_health_check(new.value)
        && needs_health_check(before.value)
        && check.int() != before.key("healthCheckNodePort").int()
    {
        errors.push(check.forbidden("field is immutable"));
    }
    errors
}

fn addresses_stay(new: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (ips, old) = (new.key("clusterIPs"), before.key("clusterIPs"));
    let mut at_index = |index: usize, detail: &str| {
        errors.push(At::new(ips.value, format!("{}[{index}]", ips.path)).invalid(detail));
    };
    if ips.len() == old.len() {
        for (index, (one, was)) in ips.items().zip(old.items()).enumerate() {
            if one.text() != was.text() {
                at_index(index, "may not change once set");
            }
        }
        return;
    }
    if ips.is_empty() {
        at_index(0, "primary clusterIP can not be unset");
    } else if !old.is_empty() && ips.index(0).text() != old.index(0).text() {
        at_index(0, "may not change once set");
    }
    released(new, &ips, &old, "secondary clusterIP", errors);
}

fn families_stay(new: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (families, old) = (new.key("ipFamilies"), before.key("ipFamilies"));
    let changed = !families.is_empty() && !old.is_empty() && families.index(0).text() != old.index(0).text();
    if changed {
        errors.push(At::new(families.value, format!("{}[0]", families.path)).invalid("may not change once set"));
    }
    released(new, &families, &old, "secondary ipFamily", errors);
}

fn released(new: &At<'_>, list: &At<'_>, old: &At<'_>, what: &str, errors: &mut ErrorList) {
    let policy = new.key("ipFamilyPolicy");
    if list.len() == 1 && old.len() > 1 && policy.text() != "SingleStack" {
        errors.push(policy.invalid(&format!("must be set to 'SingleStack' when releasing the {what}")));
    }
}

/// Errors of a changed status.
pub(super) fn validate_status(service: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let ingress = At::field(service, "status").key("loadBalancer").key("ingress");
    if service["spec"]["type"] != "LoadBalancer" && !ingress.is_empty() {
        errors.push(ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        return errors;
    }
    for one in ingress.items() {
        let (ip, mode) = (one.key("ip"), one.key("ipMode"));
        if !ip.text().is_empty() {
            text(&ip, names::ip_legacy, &mut errors);
        }
        match (mode.is_set(), ip.text().is_empty()) {
            (false, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (true, true) => errors.push(mode.forbidden("may not be specified when `ip` is not set")),
            _ => one_of_if_set(&mode, &["Proxy", "VIP"], &mut errors),
        }
        load_balancer_hostname(&one.key("hostname"), &mut errors);
    }
    errors
}

/// Errors of a host name in a load balancer's status; absent is fine.
pub(crate) fn load_balancer_hostname(hostname: &At<'_>, errors: &mut ErrorList) {
    if hostname.text().is_empty() {
        return;
    }
    required_text(hostname, names::dns1123_subdomain, errors);
    if names::parse_ip_sloppy(hostname.text()).is_some() {
        errors.push(hostname.invalid("must be a DNS name, not an IP address"));
    }
}

/// Warnings about a Service: addresses nobody should write any more, fields that do nothing.
pub(super) fn warnings(service: &Object) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let mut warnings = Vec::new();
    if !service["metadata"]["annotations"][HINTS].is_null() {
        let mode = "service.kubernetes.io/topology-mode";
        warnings.push(format!("annotation {HINTS} is deprecated, please use {mode} instead"));
    }
    let spec = At::field(service, "spec");
    let external_name = spec.key("type").text() == "ExternalName";
    if headless(spec.value) {
        if !spec.key("loadBalancerIP").text().is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !spec.key("externalIPs").is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.key("sessionAffinity").text() != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if !spec.key("externalIPs").is_empty() && !headless(spec.value) && !external_name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if external_name && !spec.key("externalIPs").is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external_name && !spec.key("externalName").text().is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.key("trafficDistribution").text() == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}
