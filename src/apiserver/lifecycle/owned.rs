//! Who owns whom: the objects that have owners, by their own and by their owners' uid.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Index of its resource.
    pub(super) resource: usize,
    /// Namespace, empty if none.
    pub(super) namespace: Box<str>,
    /// Name.
    pub(super) name: Box<str>,
    /// Uid.
    pub(super) uid: Box<str>,
}

/// One owner reference.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Owner {
    pub(super) api_version: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) block_owner_deletion: bool,
}

/// What garbage collection reads of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) deletion_timestamp: Option<Box<str>>,
    pub(super) finalizers: Vec<Box<str>>,
    pub(super) owner_references: Vec<Owner>,
}

impl Meta {
    /// Reads the metadata out of a stored object.
    pub(super) fn read(value: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        struct Only {
            #[serde(default)]
            metadata: Meta,
        }
        serde_json::from_slice::<Only>(value).unwrap_or_default().metadata
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(super) fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| &**f == finalizer)
    }
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Owned {
    owners: HashMap<Box<str>, Vec<Box<str>>>,
    dependents: HashMap<Box<str>, HashSet<Place>>,
}

impl Owned {
    /// Takes an object's owners as they are now.
    pub(super) fn put(&mut self, place: &Place, owners: &[Owner]) {
        self.remove(place);
        if owners.is_empty() {
            return;
        }
        for owner in owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(place.clone());
        }
        self.owners
            .insert(place.uid.clone(), owners.iter().map(|o| o.uid.clone()).collect());
    }

    /// Forgets an object as a dependent; returns the uids of its owners.
    pub(super) fn remove(&mut self, place: &Place) -> Vec<Box<str>> {
        let owners = self.owners.remove(&place.uid).unwrap_or_default();
        for owner in &owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(place);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        owners
    }

    /// The objects that an object owns.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Place> {
        self.dependents
            .get(uid)
            .map_or_else(Vec::new, |set| set.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        Place {
            resource: 0,
            namespace: "d".into(),
            name: name.into(),
            uid: format!("uid-{name}").into(),
        }
    }

    #[test]
    fn dependents_follow_their_references() {
        let owner = |uid: &str| Owner {
            uid: uid.into(),
            ..Owner::default()
        };
        let mut owned = Owned::default();
        owned.put(&place("a"), &[owner("x"), owner("y")]);
        owned.put(&place("b"), &[owner("x")]);
        assert_eq!(owned.dependents("x").len(), 2);
        owned.put(&place("a"), &[owner("y")]);
        assert_eq!(owned.dependents("x"), [place("b")]);
        assert_eq!(owned.remove(&place("a")), [Box::from("y")]);
        assert!(owned.dependents("y").is_empty());
    }
}
