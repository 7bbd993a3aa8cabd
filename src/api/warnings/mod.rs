//! Warnings about what is accepted but hardly meant, with the texts of kube-apiserver.

mod volumes;

use std::collections::{BTreeMap, HashSet};

use apimachinery::{Object, names, text::go_quote};

use crate::{
    json::text,
    validation::{At, resources},
};

/// Warnings about a pod template, if there is reason to look at it.
pub(crate) fn pod_template(at: &At<'_>, changed: bool) -> Vec<String> {
    if changed {
        pod(&at.key("spec"), &at.key("metadata"))
    } else {
        Vec::new()
    }
}

/// Whether an object is new or its spec changed, by its generation.
pub(crate) fn spec_changed(object: &Object, old: Option<&Object>) -> bool {
    let generation = |object: &Object| apimachinery::meta::generation(object);
    old.is_none_or(|old| generation(old) != generation(object))
}

/// A name that pods inherit but that is no good host name.
pub(crate) fn name_in_pods(object: &Object) -> Option<String> {
    let problems = names::dns1123_label(text(&object["metadata"]["name"]));
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; \
             a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// A name that is no good host name, of a pod itself.
pub(crate) fn name_of_pod(object: &Object) -> Option<String> {
    let problems = names::dns1123_label(text(&object["metadata"]["name"]));
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; \
             a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// Warnings about a pod spec.
pub(crate) fn pod(spec: &At<'_>, metadata: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    node_labels(spec, &mut warnings);
    topology_spread(spec, &mut warnings);
    annotations(metadata, &mut warnings);
    volumes(spec, &mut warnings);
    duplicates(spec, &mut warnings);
    let containers: Vec<At<'_>> = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| spec.key(kind).items())
        .collect();
    for container in &containers {
        fractions(container, &mut warnings);
        environment(container, &mut warnings);
    }
    ports(&containers, &mut warnings);
    if spec.key("terminationGracePeriodSeconds").int() < 0 {
        let path = spec.key("terminationGracePeriodSeconds").path;
        warnings.push(format!(
            "{path}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    affinity(&spec.key("affinity"), &mut warnings);
    warnings
}

fn deprecated_label(key: &str) -> Option<&'static str> {
    match key {
        "beta.kubernetes.io/arch" => Some("deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
        "beta.kubernetes.io/os" => Some("deprecated since v1.14; use \"kubernetes.io/os\" instead"),
        "failure-domain.beta.kubernetes.io/region" => {
            Some("deprecated since v1.17; use \"topology.kubernetes.io/region\" instead")
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            Some("deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead")
        }
        "beta.kubernetes.io/instance-type" => {
            Some("deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead")
        }
        _ => None,
    }
}

fn node_labels(spec: &At<'_>, warnings: &mut Vec<String>) {
    for (key, entry) in spec.key("nodeSelector").entries() {
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {message}", entry.path));
        }
    }
    let affinity = spec.key("affinity").key("nodeAffinity");
    let required = affinity
        .key("requiredDuringSchedulingIgnoredDuringExecution")
        .key("nodeSelectorTerms");
    let preferred = affinity.key("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = required
        .items()
        .chain(preferred.items().map(|term| term.key("preference")));
    for requirement in terms.flat_map(|term| term.key("matchExpressions").items()) {
        let key = requirement.key("key");
        if let Some(message) = deprecated_label(key.text()) {
            warnings.push(format!("{}: {} is {message}", key.path, key.text()));
        }
    }
}

fn topology_spread(spec: &At<'_>, warnings: &mut Vec<String>) {
    for constraint in spec.key("topologySpreadConstraints").items() {
        let key = constraint.key("topologyKey");
        if let Some(message) = deprecated_label(key.text()) {
            warnings.push(format!("{}: {} is {message}", key.path, key.text()));
        }
        null_selector(&constraint, warnings);
    }
}

fn null_selector(at: &At<'_>, warnings: &mut Vec<String>) {
    let selector = at.key("labelSelector");
    if !selector.is_set() {
        warnings.push(format!(
            "{}: a null labelSelector results in matching no pod",
            selector.path
        ));
    }
}

fn annotations(metadata: &At<'_>, warnings: &mut Vec<String>) {
    const DEPRECATED: [(&str, &str); 4] = [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "non-functional in v1.27+; use the \"seccompProfile\" field instead",
        ),
    ];
    let all = metadata.key("annotations");
    for (key, message) in DEPRECATED {
        if all.entry(key).is_set() {
            warnings.push(format!("{}: {message}", all.entry(key).path));
        }
    }
}

fn volumes(spec: &At<'_>, warnings: &mut Vec<String>) {
    const DEPRECATED: [(&str, &str); 9] = [
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for volume in spec.key("volumes").items() {
        for (kind, message) in DEPRECATED {
            if volume.key(kind).is_set() {
                let shown = if kind == "storageos" { "storageOS" } else { kind };
                warnings.push(format!("{}: {message}", volume.key(shown).path));
            }
        }
    }
    volumes::overlapping_paths(&spec.key("volumes"), warnings);
}

fn duplicates(spec: &At<'_>, warnings: &mut Vec<String>) {
    for (list, key, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = HashSet::new();
        for item in spec.key(list).items().map(|item| item.key(key)) {
            if !seen.insert(item.text()) {
                warnings.push(format!("{}: duplicate {what} {}", item.path, go_quote(item.text())));
            }
        }
    }
    for name in spec.key("imagePullSecrets").items().map(|secret| secret.key("name")) {
        if name.text().is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", name.path));
        }
    }
}

fn fractions(container: &At<'_>, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let entry = container.key("resources").key(kind).entry(name);
            if let Some(value) = resources::quantity(entry.value).filter(|q| q.milli_value() % 1000 != 0) {
                let value = go_quote(&value.to_string());
                warnings.push(format!(
                    "{}: fractional byte value {value} is invalid, must be an integer",
                    entry.path
                ));
            }
        }
    }
}

fn environment(container: &At<'_>, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for variable in container.key("env").items() {
        let name = variable.key("name").text();
        if seen.insert(name) {
            continue;
        }
        let (value, reference) = (variable.key("value").text(), format!("$({name})"));
        if variable.key("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let hidden = go_quote(name);
            let path = &variable.path;
            warnings.push(format!(
                "{path}: hides previous definition of {hidden}, which may be dropped when using apply"
            ));
        }
    }
}

fn ports(containers: &[At<'_>], warnings: &mut Vec<String>) {
    let all = || containers.iter().flat_map(|c| c.key("ports").items());
    let mut taken: BTreeMap<String, Vec<At<'_>>> = BTreeMap::new();
    for port in all() {
        let number = format!("{}/{}", port.key("containerPort").int(), port.key("protocol").text());
        let others = taken.entry(number).or_default();
        let [address, on_host] = ["hostIP", "hostPort"].map(|name| port.key(name));
        if !address.text().is_empty() && on_host.int() == 0 {
            warnings.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.path,
                port.key("name").text(),
                port.key("containerPort").int(),
                port.key("protocol").text(),
                address.text()
            ));
        }
        for other in others.iter() {
            let (ip, other_ip) = (port.key("hostIP").text(), other.key("hostIP").text());
            let (host, other_host) = (port.key("hostPort").int(), other.key("hostPort").int());
            let what = match () {
                () if ip == other_ip && host == other_host => "duplicate",
                () if host == 0 || other_host == 0 => "overlapping",
                () if host == other_host && ip.is_empty() != other_ip.is_empty() => "dangerously ambiguous",
                () => continue,
            };
            warnings.push(format!("{}: {what} port definition with {}", port.path, other.path));
        }
        others.push(port);
    }
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for port in all() {
        let name = port.key("name").text();
        match names.get(name) {
            _ if name.is_empty() => {}
            Some(first) => warnings.push(format!(
                "{}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                port.path,
                go_quote(name)
            )),
            None => {
                names.insert(name, port.path);
            }
        }
    }
}

fn affinity(at: &At<'_>, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = at.key(kind);
        for term in terms.key("requiredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&term, warnings);
        }
        for term in terms.key("preferredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&term.key("podAffinityTerm"), warnings);
        }
    }
}
