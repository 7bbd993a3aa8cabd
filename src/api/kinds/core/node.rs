//! Node.

use std::collections::HashSet;

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
};
use serde_json::{Value, json};

use crate::{
    json::{absent, default_to, empty, entries, flag, items, map_mut, text},
    kind::{Column, KindDef, MEMBER, Strategy, Subresource},
    printers,
    strategy::keep_status,
    validation::{At, resources, scheduling, text as check},
};

/// Node in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Node",
    resource: "nodes",
    singular: "node",
    short_names: &["no"],
    subresources: &[Subresource::Other("proxy"), Subresource::Status],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.Node",
    selectable_fields: &["spec.unschedulable"],
    columns: &[
        Column::object_name(),
        Column::text("Status", "Whether the node is ready and takes new pods."),
        Column::text("Roles", "Roles of the node."),
        Column::age(),
        Column::text("Version", "Version of its kubelet."),
        Column::text("Internal-IP", "First internal address.").wide(),
        Column::text("External-IP", "First external address.").wide(),
        Column::text("OS-Image", "Operating system.").wide(),
        Column::text("Kernel-Version", "Kernel.").wide(),
        Column::text("Container-Runtime", "Container runtime and its version.").wide(),
    ],
    strategy: &Node,
    ..KindDef::CLUSTER_SCOPED
};

struct Node;

impl Strategy for Node {
    fn default(&self, object: &mut Object) {
        let status = map_mut(object, "status");
        if !absent(&status["capacity"]) {
            let capacity = status["capacity"].clone();
            default_to(status, "allocatable", capacity);
        }
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let taints = At::new(spec.key("taints").value, "metadata.taints");
        scheduling::taints(&taints, &mut errors);
        capacity(object, &mut errors);
        spec.key("podCIDRs")
            .items()
            .for_each(|cidr| check(&cidr, names::cidr, &mut errors));
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        capacity(object, &mut errors);
        let mut seen = HashSet::new();
        for address in At::field(object, "status").key("addresses").items() {
            if !seen.insert((address.key("type").text(), address.key("address").text())) {
                let shown = json!({"Type": address.key("type").text(), "Address": address.key("address").text()});
                errors.push(field::duplicate(address.path.as_str(), &shown));
            }
        }
        let (spec, before) = (At::field(object, "spec"), &old["spec"]);
        for (name, shown) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
            if !empty(&before[name]) && spec.key(name).value != &before[name] {
                let detail = format!("node updates may not change {shown} except from \"\" to valid");
                errors.push(spec.key(name).forbidden(&detail));
            }
        }
        scheduling::taints(&spec.key("taints"), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Object, old: &Object) -> ErrorList {
        self.validate_update(object, old)
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![flag(&object["spec"]["unschedulable"]).to_string()]
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let info = &object["status"]["nodeInfo"];
        let mut kernel = printers::or(text(&info["kernelVersion"]), "<unknown>").to_owned();
        if !text(&info["architecture"]).is_empty() {
            kernel = format!("{kernel} ({})", text(&info["architecture"]));
        }
        vec![
            printers::name(object),
            status(object).into(),
            roles(object).into(),
            printers::age(object, now),
            text(&info["kubeletVersion"]).into(),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            printers::or(text(&info["osImage"]), "<unknown>").into(),
            kernel.into(),
            printers::or(text(&info["containerRuntimeVersion"]), "<unknown>").into(),
        ]
    }
}

fn status(node: &Object) -> String {
    let ready = items(&node["status"]["conditions"])
        .iter()
        .rfind(|c| c["type"] == "Ready");
    let mut status = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(&node["spec"]["unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Object) -> String {
    let mut roles: Vec<&str> = entries(&node["metadata"]["labels"])
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then(|| text(value)),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

fn address<'a>(node: &'a Object, kind: &str) -> &'a str {
    let found = items(&node["status"]["addresses"]).iter().find(|a| a["type"] == kind);
    found.map_or("<none>", |a| text(&a["address"]))
}

fn capacity(node: &Object, errors: &mut ErrorList) {
    let status = At::field(node, "status");
    for list in ["capacity", "allocatable"].map(|name| status.key(name)) {
        for (name, amount) in list.entries() {
            resources::amount(&At::new(amount.value, format!("{}.{name}", list.path)), name, errors);
        }
    }
}
