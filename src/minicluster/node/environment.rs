//! Environment and arguments of a container that is run as a process: pure.
//!
//! A process has no mount namespace here: where an argument or a variable names a mount path, the
//! directory that stands in for it is put instead.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

/// The data of the ConfigMaps and Secrets that the environment refers to, by name.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// ConfigMaps.
    pub(crate) config_maps: HashMap<String, BTreeMap<String, String>>,
    /// Secrets.
    pub(crate) secrets: HashMap<String, BTreeMap<String, String>>,
}

/// Why a container cannot be given its environment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// A reference leads nowhere.
    #[error("couldn't find key {key} in {kind} {name}")]
    MissingKey {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// An object whose data are all asked for is not there.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// Kind of the missing object, lower case.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The field is not known.
    #[error("unsupported fieldPath: {0}")]
    UnknownField(String),
}

/// A place in the container and the directory that stands in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Path in the container.
    pub(crate) path: String,
    /// The directory or file in its stead.
    pub(crate) stands_in: PathBuf,
}

/// The value of a field of the pod. `ip` and `host_ip` are given because the status may not have them yet.
pub(crate) fn field(pod: &Pod, path: &str, ip: &str, host_ip: &str) -> Result<String, Error> {
    let meta = &pod.metadata;
    let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(key) = keyed("metadata.labels") {
        return Ok(meta
            .labels
            .as_ref()
            .and_then(|all| all.get(key))
            .cloned()
            .unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Ok(meta
            .annotations
            .as_ref()
            .and_then(|all| all.get(key))
            .cloned()
            .unwrap_or_default());
    }
    let list = |all: &Option<BTreeMap<String, String>>| {
        let lines: Vec<_> = all
            .iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        lines.join("\n")
    };
    let spec = pod.spec.clone().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => list(&meta.labels),
        "metadata.annotations" => list(&meta.annotations),
        "spec.nodeName" => text(&spec.node_name),
        "spec.serviceAccountName" => text(&spec.service_account_name),
        "status.podIP" | "status.podIPs" => ip.to_owned(),
        "status.hostIP" | "status.hostIPs" => host_ip.to_owned(),
        other => return Err(Error::UnknownField(other.to_owned())),
    })
}

/// The variables of a container, in order; later ones win and may refer to earlier ones.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    base: &[(String, String)],
    (ip, host_ip): (&str, &str),
) -> Result<BTreeMap<String, String>, Error> {
    let mut all: BTreeMap<String, String> = base.iter().cloned().collect();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let config_map = from.config_map_ref.as_ref().map(|source| {
            let data = sources.config_maps.get(&source.name);
            ("configmap", &source.name, source.optional, data)
        });
        let secret = from.secret_ref.as_ref().map(|source| {
            let data = sources.secrets.get(&source.name);
            ("secret", &source.name, source.optional, data)
        });
        let Some((kind, name, optional, data)) = config_map.or(secret) else {
            continue;
        };
        if data.is_none() && optional != Some(true) {
            let name = name.clone();
            return Err(Error::NotFound { kind, name });
        }
        for (key, value) in data.into_iter().flatten() {
            all.insert(format!("{prefix}{key}"), value.clone());
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &all)),
            (None, Some(source)) => resolve(pod, source, sources, ip, host_ip)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            all.insert(variable.name.clone(), value);
        }
    }
    Ok(all)
}

fn resolve(
    pod: &Pod,
    source: &EnvVarSource,
    sources: &Sources,
    ip: &str,
    host_ip: &str,
) -> Result<Option<String>, Error> {
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, ip, host_ip).map(Some);
    }
    let (kind, name, key, optional, data) = if let Some(reference) = &source.config_map_key_ref {
        (
            "ConfigMap",
            &reference.name,
            &reference.key,
            reference.optional,
            &sources.config_maps,
        )
    } else if let Some(reference) = &source.secret_key_ref {
        (
            "Secret",
            &reference.name,
            &reference.key,
            reference.optional,
            &sources.secrets,
        )
    } else {
        // Amounts of resources: nothing is limited here.
        return Ok(Some("0".to_owned()));
    };
    let value = data.get(name).and_then(|data| data.get(key)).cloned();
    if value.is_none() && optional != Some(true) {
        return Err(Error::MissingKey {
            kind,
            name: name.clone(),
            key: key.clone(),
        });
    }
    Ok(value)
}

/// Replaces `$(NAME)` by the variable; `$$` is a dollar sign; an unknown reference stays as it is.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|tail| tail.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

/// Puts the directories that stand in for mounts where a text names a mount path: at its beginning
/// or after one of `=`, `,`, `:`, a blank or a quote, and as whole path components.
pub(crate) fn rewrite(text: &str, mounts: &[Mount]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < text.len() {
        let rest = &text[index..];
        let at_start = text[..index]
            .chars()
            .next_back()
            .is_none_or(|before| matches!(before, '=' | ',' | ':' | ' ' | '"' | '\''));
        let here = |mount: &&Mount| {
            let path = mount.path.trim_end_matches('/');
            let after = rest.strip_prefix(path).and_then(|after| after.chars().next());
            !path.is_empty()
                && rest.starts_with(path)
                && after.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.')))
        };
        let mount = at_start
            .then(|| mounts.iter().filter(here).max_by_key(|mount| mount.path.len()))
            .flatten();
        if let Some(mount) = mount {
            out.push_str(&mount.stands_in.to_string_lossy());
            index += mount.path.trim_end_matches('/').len();
        } else {
            let Some(next) = rest.chars().next() else { break };
            out.push(next);
            index += next.len_utf8();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mount(path: &str, stands_in: &str) -> Mount {
        Mount {
            path: path.into(),
            stands_in: stands_in.into(),
        }
    }

    #[test]
    fn mount_paths_are_rewritten_as_whole_components_only() {
        let mounts = [
            mount("/etc/federation", "/d/a"),
            mount("/etc/federation/apiserver/", "/d/b"),
            mount("/var/lib", "/d/c"),
        ];
        let cases = [
            (
                "--tls-cert-file=/etc/federation/apiserver/server.crt",
                "--tls-cert-file=/d/b/server.crt",
            ),
            ("/etc/federation/x", "/d/a/x"),
            ("/etc/federation-2/x", "/etc/federation-2/x"),
            ("/opt/etc/federation", "/opt/etc/federation"),
            ("a=/var/lib,b=/var/lib/x:/var/lib", "a=/d/c,b=/d/c/x:/d/c"),
            ("--data-dir=/var/library", "--data-dir=/var/library"),
            ("grüße /var/lib", "grüße /d/c"),
        ];
        for (text, expected) in cases {
            assert_eq!(rewrite(text, &mounts), expected);
        }
    }

    #[test]
    fn references_are_expanded_once() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y$(A)"),
            ("$$(A)", "$(A)"),
            ("$(C)", "$(C)"),
            ("5$", "5$"),
            ("$(A", "$(A"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn all_data_of_an_object_that_is_not_there_are_an_error_unless_optional() {
        let container = |optional: bool| -> Container {
            let from = json!([{"secretRef": {"name": "s", "optional": optional}}]);
            serde_json::from_value(json!({"name": "a", "envFrom": from})).unwrap()
        };
        let all = |optional| {
            variables(
                &Pod::default(),
                &container(optional),
                &Sources::default(),
                &[],
                ("", ""),
            )
        };
        assert_eq!(all(false).unwrap_err().to_string(), "secret \"s\" not found");
        assert!(all(true).unwrap().is_empty());
    }

    #[test]
    fn variables_come_from_values_fields_and_keys() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "a", "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "ADDRESS", "value": "$(POD_IP):$(PORT)"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x", "optional": true}}},
            ]}]},
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mut sources = Sources::default();
        let base = [("PORT".to_owned(), "80".to_owned())];
        let missing = variables(&pod, container, &sources, &base, ("127.16.64.1", "127.16.0.1")).unwrap_err();
        assert_eq!(missing.to_string(), "couldn't find key k in Secret s");
        sources
            .secrets
            .insert("s".into(), [("k".to_owned(), "v".to_owned())].into());
        let all = variables(&pod, container, &sources, &base, ("127.16.64.1", "127.16.0.1")).unwrap();
        assert_eq!(all["ADDRESS"], "127.16.64.1:80");
        assert_eq!((all["APP"].as_str(), all["KEY"].as_str()), ("web", "v"));
        assert!(!all.contains_key("NONE"));
    }
}
