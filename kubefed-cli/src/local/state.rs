//! What a local federation is made of, as recorded in `local.json` of its directory.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Kubernetes;
use super::process::Process;
use crate::kubeconfig;

/// The record of a local federation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// Port of the load balancer for HTTP on 127.0.0.1.
    pub(crate) http_port: u16,
    /// Port of the load balancer for HTTPS on 127.0.0.1.
    pub(crate) https_port: u16,
    /// What the clusters are.
    #[serde(default)]
    pub(crate) kubernetes: Kubernetes,
    /// The clusters; the first is the host.
    pub(crate) clusters: Vec<ClusterState>,
}

/// One cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterState {
    /// Its name, which is its zone as well.
    pub(crate) name: String,
    /// Port of its API server on 127.0.0.1.
    pub(crate) port: u16,
    /// Range of its pods' addresses; empty until it has run once.
    #[serde(default)]
    pub(crate) pod_cidr: String,
    /// Its processes, in the order they are started; the API server's comes first.
    #[serde(default)]
    pub(crate) processes: Vec<Process>,
}

impl ClusterState {
    /// The region of the zone the cluster is named after: `us-east1-b` lies in `us-east1`.
    pub(crate) fn region(&self) -> &str {
        match self.name.rsplit_once('-') {
            Some((region, zone)) if zone.len() == 1 => region,
            _ => &self.name,
        }
    }
}

impl State {
    fn file(dir: &Path) -> PathBuf {
        dir.join("local.json")
    }

    /// Reads the record; `None` if nothing has been started in the directory.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let file = Self::file(dir);
        match std::fs::read(&file) {
            Ok(bytes) => {
                let state = serde_json::from_slice(&bytes);
                Ok(Some(state.with_context(|| {
                    format!("{} is not a record of a local federation", file.display())
                })?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Reads the record, or says that there is none.
    pub(crate) fn expect(dir: &Path) -> anyhow::Result<Self> {
        Self::read(dir)?.with_context(|| format!("no local federation in {}: run `kubefed local up`", dir.display()))
    }

    /// Writes the record in one step.
    pub(crate) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).context("cannot write the record")?;
        kubeconfig::write_private(&Self::file(dir), &bytes)
    }
}

/// The kubeconfig of a local federation.
pub(crate) fn kubeconfig_of(dir: &Path) -> PathBuf {
    dir.join("kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_lies_in_the_region_of_its_zone() {
        let region = |name: &str| {
            ClusterState {
                name: name.into(),
                port: 0,
                pod_cidr: String::new(),
                processes: vec![],
            }
            .region()
            .to_owned()
        };
        assert_eq!(region("us-east1-b"), "us-east1");
        assert_eq!(region("asia-northeast1-a"), "asia-northeast1");
        assert_eq!(region("office"), "office");
        assert_eq!(region("us-east-1"), "us-east");
    }

    #[test]
    fn the_record_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        assert!(State::read(dir.path()).unwrap().is_none());
        let state = State {
            http_port: 8080,
            ..State::default()
        };
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap().unwrap().http_port, 8080);
    }
}
