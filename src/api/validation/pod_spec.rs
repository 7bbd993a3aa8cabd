//! Pod specs, of pods and of templates for them.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names};
use serde_json::json;

use super::{
    At,
    container::{self, Context},
    one_of, resources, scheduling, security, text, volume,
};

/// Longest list of DNS search paths, with spaces between them.
const MAX_SEARCHES_LENGTH: usize = 2048;

/// Where a pod spec stands: some rules are for pods only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pod.
    Pod,
    /// In a template.
    Template,
}

/// Errors of a pod spec.
pub(crate) fn pod_spec(at: &At<'_>, place: Place, errors: &mut ErrorList) {
    let grace = at.key("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.push(grace.required(""));
    }
    let claims: Vec<At<'_>> = at.key("resourceClaims").items().collect();
    let context = Context {
        volumes: volume::volumes(&at.key("volumes"), place, errors),
        grace: grace.value.as_i64(),
        host_users: *at.key("hostUsers").value != false,
        claims: claims.iter().map(|claim| claim.key("name").text()).collect(),
    };
    resource_claims(&claims, errors);
    let regular = at.key("containers");
    container::containers(&regular, &context, errors);
    container::init_containers(&at.key("initContainers"), &regular, &context, errors);
    if place == Place::Pod {
        ephemeral_containers(at, &context, errors);
    }
    if at.key("hostNetwork").flag() {
        host_network_ports(&regular, place, errors);
    }
    one_of(&at.key("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    one_of(
        &at.key("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        errors,
    );
    scheduling::node_labels(&at.key("nodeSelector"), errors);
    security_context(at, errors);
    scheduling::affinity(&at.key("affinity"), errors);
    dns_config(at, errors);
    for gate in at.key("readinessGates").items() {
        text(&gate.key("conditionType"), names::qualified_name, errors);
    }
    scheduling_gates(&at.key("schedulingGates"), errors);
    scheduling::topology_spread(&at.key("topologySpreadConstraints"), errors);
    optional_names(at, errors);
    deadline(&at.key("activeDeadlineSeconds"), errors);
    scheduling::tolerations(&at.key("tolerations"), errors);
    host_aliases(&at.key("hostAliases"), errors);
    if at.key("preemptionPolicy").is_set() {
        one_of(&at.key("preemptionPolicy"), &["PreemptLowerPriority", "Never"], errors);
    }
    if at.key("overhead").is_set() {
        let limits = json!({"limits": at.key("overhead").value});
        resources::container(
            &At::new(&limits, format!("{}.overhead", at.path)),
            &HashSet::new(),
            errors,
        );
    }
    let os = at.key("os").key("name");
    if at.key("os").is_set() && os.text().is_empty() {
        errors.push(os.required(""));
    } else if at.key("os").is_set() && !["linux", "windows"].contains(&os.text()) {
        errors.push(At::new(os.value, at.key("os").path).not_supported(&["linux", "windows"]));
    }
}

fn resource_claims(claims: &[At<'_>], errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for claim in claims {
        let name = claim.key("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        } else {
            text(&name, names::dns1123_label, errors);
        }
        let (by_name, by_template) = (claim.key("resourceClaimName"), claim.key("resourceClaimTemplateName"));
        let detail = match (by_name.is_set(), by_template.is_set()) {
            (false, false) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            (true, true) => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            _ => continue,
        };
        let shown = json!({
            "Name": name.text(),
            "ResourceClaimName": by_name.value,
            "ResourceClaimTemplateName": by_template.value,
        });
        errors.push(claim.invalid_value(&shown, detail));
    }
}

fn ephemeral_containers(at: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let all = ["containers", "initContainers"].map(|kind| at.key(kind));
    let others: HashSet<&str> = all.iter().flat_map(At::items).map(|c| c.key("name").text()).collect();
    let mut seen = others.clone();
    for container in at.key("ephemeralContainers").items() {
        container::common(&container, context, errors);
        if !seen.insert(container.key("name").text()) {
            errors.push(container.key("name").duplicate());
        }
        let target = container.key("targetContainerName");
        if !target.text().is_empty() && !others.contains(target.text()) {
            errors.push(target.not_found());
        }
        for field in [
            "ports",
            "resources",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            if !container.key(field).is_empty() {
                errors.push(
                    container
                        .key(field)
                        .forbidden("cannot be set for an Ephemeral Container"),
                );
            }
        }
    }
}

fn host_network_ports(containers: &At<'_>, place: Place, errors: &mut ErrorList) {
    for port in containers.items().flat_map(|c| c.key("ports").items()) {
        let host = port.key("hostPort");
        let given = place == Place::Pod || host.int() != 0;
        if given && host.int() != port.key("containerPort").int() {
            let shown = host.int().into();
            errors.push(host.invalid_value(&shown, "must match `containerPort` when `hostNetwork` is true"));
        }
    }
}

fn security_context(at: &At<'_>, errors: &mut ErrorList) {
    let context = at.key("securityContext");
    security::pod(&context, errors);
    if at.key("hostPID").flag() && at.key("shareProcessNamespace").flag() {
        let share = At::new(
            at.key("shareProcessNamespace").value,
            format!("{}.shareProcessNamespace", context.path),
        );
        errors.push(share.invalid("ShareProcessNamespace and HostPID cannot both be enabled"));
    }
    let users = at.key("hostUsers");
    if users.is_set() && !users.flag() {
        for (field, shown) in [
            ("hostNetwork", "hostNetwork"),
            ("hostPID", "HostPID"),
            ("hostIPC", "HostIPC"),
        ] {
            if at.key(field).flag() {
                errors.push(at.key(shown).forbidden("when `hostUsers` is false"));
            }
        }
    }
}

fn dns_config(at: &At<'_>, errors: &mut ErrorList) {
    let config = at.key("dnsConfig");
    let servers = config.key("nameservers");
    if at.key("dnsPolicy").text() == "None" {
        if !config.is_set() {
            errors.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(servers.required(detail));
            return;
        }
    }
    if servers.len() > 3 {
        errors.push(servers.invalid("must not have more than 3 nameservers"));
    }
    servers
        .items()
        .for_each(|server| text(&server, names::ip_legacy, errors));
    let searches = config.key("searches");
    if searches.len() > 32 {
        errors.push(searches.invalid("must not have more than 32 search paths"));
    }
    let length = searches.items().map(|search| search.text().len() + 1).sum::<usize>();
    if length > MAX_SEARCHES_LENGTH + 1 {
        let detail =
            format!("must not have more than {MAX_SEARCHES_LENGTH} characters (including spaces) in the search list");
        errors.push(searches.invalid(&detail));
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text()).into();
        text(
            &At::new(&name, search.path.as_str()),
            names::dns1123_subdomain_with_underscore,
            errors,
        );
    }
    for option in config.key("options").items() {
        if option.key("name").text().is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

fn scheduling_gates(at: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for gate in at.items() {
        let name = gate.key("name");
        let shown = At::new(name.value, gate.path.as_str());
        text(&shown, names::qualified_name, errors);
        if !seen.insert(name.text()) {
            errors.push(shown.duplicate());
        }
    }
}

fn optional_names(at: &At<'_>, errors: &mut ErrorList) {
    type Check = fn(&str) -> Vec<String>;
    let checks: [(&str, Check); 6] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ];
    for (name, check) in checks {
        let field = at.key(name);
        if !field.text().is_empty() || (name == "runtimeClassName" && field.is_set()) {
            text(&field, check, errors);
        }
    }
}

/// Errors of a deadline in seconds; absent is fine.
pub(crate) fn deadline(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_set() {
        let range = names::in_range(at.int(), 1, i32::MAX.into());
        errors.extend(range.iter().map(|problem| at.invalid(problem)));
    }
}

fn host_aliases(at: &At<'_>, errors: &mut ErrorList) {
    for alias in at.items() {
        text(&alias.key("ip"), names::ip_legacy, errors);
        alias
            .key("hostnames")
            .items()
            .for_each(|host| text(&host, names::dns1123_subdomain, errors));
    }
}
