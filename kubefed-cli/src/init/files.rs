//! Files that an operator gives to the load balancer: geo databases and client maps are theirs, not the image's.

use std::str::FromStr;

use serde_json::{Value, json};
use thiserror::Error;

/// Where the files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileSource {
    /// A ConfigMap of the control plane's namespace.
    ConfigMap(String),
    /// A Secret of the control plane's namespace.
    Secret(String),
    /// A PersistentVolumeClaim of the control plane's namespace.
    Claim(String),
    /// A directory of the node.
    HostDirectory(String),
}

/// A text that names no source of files.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is none of configmap/NAME, secret/NAME, pvc/NAME or a /DIRECTORY of the node")]
pub(crate) struct InvalidFileSource(String);

impl FromStr for FileSource {
    type Err = InvalidFileSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::HostDirectory(text.to_owned()));
        }
        let invalid = || InvalidFileSource(text.to_owned());
        let (kind, name) = text.split_once('/').ok_or_else(invalid)?;
        if !apimachinery::names::dns1123_subdomain(name).is_empty() {
            return Err(invalid());
        }
        match kind {
            "configmap" => Ok(Self::ConfigMap(name.to_owned())),
            "secret" => Ok(Self::Secret(name.to_owned())),
            "pvc" => Ok(Self::Claim(name.to_owned())),
            _ => Err(invalid()),
        }
    }
}

impl FileSource {
    /// The volume of that name with these files.
    pub(super) fn volume(&self, name: &str) -> Value {
        let (kind, source) = match self {
            Self::ConfigMap(map) => ("configMap", json!({"name": map})),
            Self::Secret(secret) => ("secret", json!({"secretName": secret})),
            Self::Claim(claim) => ("persistentVolumeClaim", json!({"claimName": claim, "readOnly": true})),
            Self::HostDirectory(path) => ("hostPath", json!({"path": path, "type": "Directory"})),
        };
        json!({"name": name, kind: source})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_source_becomes_its_volume() {
        for (text, volume) in [
            ("configmap/geo", json!({"name": "files", "configMap": {"name": "geo"}})),
            ("secret/geo", json!({"name": "files", "secret": {"secretName": "geo"}})),
            (
                "pvc/geo",
                json!({"name": "files", "persistentVolumeClaim": {"claimName": "geo", "readOnly": true}}),
            ),
            (
                "/srv/geo",
                json!({"name": "files", "hostPath": {"path": "/srv/geo", "type": "Directory"}}),
            ),
        ] {
            let source: FileSource = text.parse().expect(text);
            assert_eq!(source.volume("files"), volume, "{text}");
        }
    }

    #[test]
    fn a_text_that_names_no_source_is_refused() {
        for text in ["", "geo", "configmap/", "deployment/geo", "configmap/Not A Name"] {
            assert_eq!(text.parse::<FileSource>(), Err(InvalidFileSource(text.to_owned())));
        }
    }
}
