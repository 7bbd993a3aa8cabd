//! What is left to delete in members that were not reachable when a federated object went.
//!
//! One ConfigMap per cluster in `kube-system` of the federation, one entry per object, so that a new controller
//! manager finds them too. An entry is carried out once the cluster is back, unless the federation has an object of
//! that name again: then the copy is its copy.

use apimachinery::Object;
use client::{Error, Key, Rest, resources::CONFIG_MAPS};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{engine::Engine, kinds, observe};
use crate::{hash::Hash, members::Member};

const NAMESPACE: &str = "kube-system";

/// A copy that is to be deleted or released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Kind.
    pub kind: String,
    /// `namespace/name`.
    pub key: String,
    /// Uid of the copy, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Whether it is set free instead of deleted.
    #[serde(default)]
    pub orphan: bool,
}

impl Tombstone {
    fn entry(&self) -> String {
        Hash::of(&json!([self.kind, self.key])).to_string()
    }
}

fn name(cluster: &str) -> Key {
    Key::new(Some(NAMESPACE), &format!("federation-deletions.{cluster}"))
}

/// Writes a tombstone down.
///
/// # Errors
/// If the federation does not take it: the deletion must wait then.
pub async fn write(federation: &Rest, cluster: &str, tombstone: &Tombstone) -> Result<(), Error> {
    let key = name(cluster);
    let text = serde_json::to_string(tombstone).unwrap_or_default();
    let mut data = json!({});
    data[tombstone.entry()] = json!(text);
    match federation.merge(&CONFIG_MAPS, &key, "", &json!({ "data": data })).await {
        Err(error) if error.is_not_found() => {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": key.name(), "namespace": NAMESPACE},
                "data": data,
            });
            federation.create(&CONFIG_MAPS, Some(NAMESPACE), &map).await?;
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Forgets a cluster that has left.
///
/// # Errors
/// If the federation does not answer.
pub async fn discard(federation: &Rest, cluster: &str) -> Result<(), Error> {
    federation
        .delete(
            &CONFIG_MAPS,
            &name(cluster),
            None,
            client::rest::Propagation::Background,
        )
        .await
}

/// The tombstones in a ConfigMap, with their entries. What cannot be read is left alone.
fn parse(map: &Object) -> Vec<(String, Tombstone)> {
    let data = map["data"].as_object().into_iter().flatten();
    data.filter_map(|(entry, text)| Some((entry.clone(), serde_json::from_str(text.as_str()?).ok()?)))
        .collect()
}

impl Engine {
    /// Carries out what was left to do in a member that is back. Returns whether nothing is left.
    ///
    /// # Errors
    /// If the federation or the member does not answer; what was done stays done.
    pub async fn bury(&self, member: &Member) -> Result<bool, Error> {
        let key = name(&member.name);
        let Some(map) = self.federation.find(&CONFIG_MAPS, &key).await? else {
            return Ok(true);
        };
        for (entry, tombstone) in parse(&map) {
            self.carry_out(member, &tombstone).await?;
            let mut data = json!({});
            data[entry] = Object::Null;
            self.federation
                .merge(&CONFIG_MAPS, &key, "", &json!({ "data": data }))
                .await?;
        }
        Ok(true)
    }

    async fn carry_out(&self, member: &Member, tombstone: &Tombstone) -> Result<(), Error> {
        let Some(index) = kinds::index_of(&tombstone.kind) else {
            return Ok(());
        };
        let key = (index, Key::from(tombstone.key.as_str()));
        let resource = Self::kind(&key).resource();
        let recreated = self.federation.find(&resource, &key.1).await?;
        if recreated.is_some_and(|o| !apimachinery::meta::is_being_deleted(&o)) {
            return Ok(());
        }
        let Some(object) = member.rest.find(&resource, &key.1).await? else {
            return Ok(());
        };
        let uid = apimachinery::meta::uid(&object);
        if !observe::is_ours(&object, &self.uid) || tombstone.uid.as_deref().is_some_and(|known| known != uid) {
            return Ok(());
        }
        if tombstone.orphan {
            self.release(member, &key).await
        } else {
            member
                .rest
                .delete(&resource, &key.1, Some(uid), client::rest::Propagation::Background)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_survive_being_written_and_read() {
        let tombstone = Tombstone {
            kind: "Deployment".into(),
            key: "a/web".into(),
            uid: Some("u".into()),
            orphan: true,
        };
        let mut map = json!({"data": {"broken": "{"}});
        map["data"][tombstone.entry()] = json!(serde_json::to_string(&tombstone).expect("serializes"));
        assert_eq!(parse(&map), vec![(tombstone.entry(), tombstone)]);
    }

    #[test]
    fn the_name_of_an_entry_is_a_valid_key_of_a_config_map() {
        let tombstone = Tombstone {
            kind: "Secret".into(),
            key: format!("a/{}", "x".repeat(253)),
            uid: None,
            orphan: false,
        };
        assert!(tombstone.entry().len() <= 253 && tombstone.entry().bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
