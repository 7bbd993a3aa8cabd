//! Discovery: what is served, in the legacy and the aggregated form.
//!
//! It does not change while the server runs: built once, answered from memory.

pub mod serve;

use std::collections::BTreeMap;

use api::Subresource;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::registry::{GroupVersion, Registry, Resource};

/// Content type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The verbs of a status subresource.
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// An aggregated document with its ETag.
pub struct Aggregated {
    /// The document.
    pub body: Bytes,
    /// Quoted hash of it.
    pub etag: String,
}

/// Every discovery document.
pub struct Discovery {
    /// `/api`.
    pub versions: Value,
    /// `/apis`.
    pub groups: Value,
    /// `/apis/GROUP`.
    pub group: BTreeMap<String, Value>,
    /// `/api/v1`, `/apis/GROUP/VERSION`: by path.
    pub resources: BTreeMap<String, Value>,
    /// `/api` aggregated.
    pub core: Aggregated,
    /// `/apis` aggregated.
    pub named: Aggregated,
}

/// An entry that is served besides the objects of a kind: its own kind and the verbs it has.
struct Entry {
    name: String,
    kind: (&'static str, &'static str, &'static str),
    verbs: Vec<&'static str>,
}

impl Discovery {
    /// Describes what a registry serves. `address` is how clients may reach the server.
    #[must_use]
    pub fn new(registry: &Registry, address: &str) -> Self {
        let all = registry.group_versions();
        let mut group = BTreeMap::new();
        let mut groups = Vec::new();
        for name in group_names(&all) {
            let document = api_group(name, &all);
            groups.push(document.clone());
            let mut alone = json!({"kind": "APIGroup", "apiVersion": "v1"});
            merge(&mut alone, document);
            group.insert(name.to_owned(), alone);
        }
        let resources = all.iter().map(|gv| (path(gv), resource_list(registry, gv))).collect();
        Self {
            versions: json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
            }),
            groups: json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            group,
            resources,
            core: aggregated(registry, &[""], &all),
            named: aggregated(registry, &group_names(&all), &all),
        }
    }
}

fn path(gv: &GroupVersion) -> String {
    if gv.group.is_empty() {
        format!("/api/{}", gv.version)
    } else {
        format!("/apis/{}/{}", gv.group, gv.version)
    }
}

fn group_version(gv: &GroupVersion) -> String {
    if gv.group.is_empty() {
        gv.version.to_owned()
    } else {
        format!("{}/{}", gv.group, gv.version)
    }
}

/// The group that has nothing that is not in a newer one as well.
const SUPERSEDED: &str = "extensions";

/// Named groups, in the order in which clients prefer them: `kubectl get ingresses` takes the first that has them.
fn group_names(all: &[GroupVersion]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for gv in all.iter().filter(|gv| !gv.group.is_empty()) {
        if !names.contains(&gv.group) {
            names.push(gv.group);
        }
    }
    names.sort_by_key(|&name| name == SUPERSEDED);
    names
}

/// Versions of a group, the preferred one first: stable before beta, higher before lower.
fn versions(name: &str, all: &[GroupVersion]) -> Vec<GroupVersion> {
    let mut versions: Vec<GroupVersion> = all.iter().filter(|gv| gv.group == name).cloned().collect();
    versions.sort_by_key(|gv| {
        let number = gv.version[1..]
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        (gv.version.contains("beta"), std::cmp::Reverse(number))
    });
    versions
}

fn api_group(name: &str, all: &[GroupVersion]) -> Value {
    let list: Vec<Value> = versions(name, all)
        .iter()
        .map(|gv| json!({"groupVersion": group_version(gv), "version": gv.version}))
        .collect();
    json!({"name": name, "versions": list, "preferredVersion": list.first()})
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn of_version<'a>(registry: &'a Registry, gv: &'a GroupVersion) -> Vec<&'a Resource> {
    let mut found: Vec<&Resource> = registry
        .resources()
        .map(AsRef::as_ref)
        .filter(|r| r.def.group == gv.group && r.def.version == gv.version)
        .collect();
    found.sort_by_key(|r| r.def.resource);
    found
}

fn subresources(resource: &Resource) -> Vec<Entry> {
    let def = resource.def;
    let own = (def.group, def.version, def.kind);
    let mut entries: Vec<Entry> = def
        .subresources
        .iter()
        .map(|sub| subresource(*sub, own, def.resource))
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn subresource(sub: Subresource, own: (&'static str, &'static str, &'static str), resource: &str) -> Entry {
    let connect = vec!["create", "get"];
    let (name, kind, verbs) = match sub {
        Subresource::Status => ("status", own, STATUS_VERBS.to_vec()),
        Subresource::Scale => ("scale", ("autoscaling", "v1", "Scale"), STATUS_VERBS.to_vec()),
        Subresource::Finalize => ("finalize", own, vec!["update"]),
        Subresource::Other(name) => match name {
            "token" => (name, ("authentication.k8s.io", "v1", "TokenRequest"), vec!["create"]),
            "eviction" => (name, ("policy", "v1", "Eviction"), vec!["create"]),
            "binding" => (name, ("", "v1", "Binding"), vec!["create"]),
            "log" => (name, own, vec!["get"]),
            "exec" => (name, ("", "v1", "PodExecOptions"), connect),
            "attach" => (name, ("", "v1", "PodAttachOptions"), connect),
            "portforward" => (name, ("", "v1", "PodPortForwardOptions"), connect),
            "proxy" => {
                let kind = match resource {
                    "nodes" => "NodeProxyOptions",
                    "services" => "ServiceProxyOptions",
                    _ => "PodProxyOptions",
                };
                (
                    name,
                    ("", "v1", kind),
                    vec!["create", "delete", "get", "patch", "update"],
                )
            }
            _ => (name, own, STATUS_VERBS.to_vec()),
        },
    };
    Entry {
        name: name.to_owned(),
        kind,
        verbs,
    }
}

/// A short hash that changes when objects are stored differently.
fn storage_version_hash(resource: &Resource) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = format!(
        "{}/{}/{}",
        resource.stored.group, resource.stored.version, resource.stored.kind
    );
    STANDARD.encode(&sha2::Sha256::digest(text.as_bytes())[..8])
}

fn resource_list(registry: &Registry, gv: &GroupVersion) -> Value {
    let mut list = Vec::new();
    for resource in of_version(registry, gv) {
        let def = resource.def;
        let mut entry = json!({
            "name": def.resource,
            "singularName": def.singular,
            "namespaced": def.namespaced,
            "kind": def.kind,
            "verbs": def.verbs,
        });
        if !def.short_names.is_empty() {
            entry["shortNames"] = json!(def.short_names);
        }
        if !def.categories.is_empty() {
            entry["categories"] = json!(def.categories);
        }
        if def.verbs.contains(&"list") {
            entry["storageVersionHash"] = storage_version_hash(resource).into();
        }
        list.push(entry);
        for sub in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{}", def.resource, sub.name),
                "singularName": "",
                "namespaced": def.namespaced,
            });
            let (group, version, kind) = sub.kind;
            if (group, version) != (def.group, def.version) {
                if !group.is_empty() {
                    entry["group"] = group.into();
                }
                entry["version"] = version.into();
            }
            entry["kind"] = kind.into();
            entry["verbs"] = json!(sub.verbs);
            list.push(entry);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(gv), "resources": list})
}

fn aggregated(registry: &Registry, names: &[&str], all: &[GroupVersion]) -> Aggregated {
    let items: Vec<Value> = names
        .iter()
        .map(|name| {
            let versions: Vec<Value> = versions(name, all)
                .iter()
                .map(|gv| json!({"version": gv.version, "resources": discovered(registry, gv), "freshness": "Current"}))
                .collect();
            let metadata = if name.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": name, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut body = document.to_string().into_bytes();
    body.push(b'\n');
    let hash: String = Sha512::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
    Aggregated {
        body: body.into(),
        etag: format!("\"{hash}\""),
    }
}

fn discovered(registry: &Registry, gv: &GroupVersion) -> Vec<Value> {
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    of_version(registry, gv)
        .into_iter()
        .map(|resource| {
            let def = resource.def;
            let mut entry = json!({
                "resource": def.resource,
                "responseKind": {"group": def.group, "version": def.version, "kind": def.kind},
                "scope": scope(def.namespaced),
                "singularResource": def.singular,
                "verbs": def.verbs,
            });
            if !def.short_names.is_empty() {
                entry["shortNames"] = json!(def.short_names);
            }
            if !def.categories.is_empty() {
                entry["categories"] = json!(def.categories);
            }
            let subs: Vec<Value> = subresources(resource)
                .into_iter()
                .map(|sub| {
                    let (group, version, kind) = sub.kind;
                    json!({
                        "subresource": sub.name,
                        "responseKind": {"group": group, "version": version, "kind": kind},
                        "verbs": sub.verbs,
                    })
                })
                .collect();
            if !subs.is_empty() {
                entry["subresources"] = subs.into();
            }
            entry
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_of_two_groups_is_first_found_in_the_newer_one() {
        let all = [
            ("", "v1"),
            ("apps", "v1"),
            ("extensions", "v1beta1"),
            ("networking.k8s.io", "v1"),
        ]
        .map(|(group, version)| GroupVersion { group, version });
        assert_eq!(group_names(&all), ["apps", "networking.k8s.io", "extensions"]);
    }
}
