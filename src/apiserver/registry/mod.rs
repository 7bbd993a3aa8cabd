//! The served kinds and what can be done with their objects, apart from HTTP.
//!
//! Objects are kept as the JSON the client will read, without `resourceVersion` (which is the revision of the key).
//! Writes run kube-apiserver's sequence: decode, default, prepare, admit, validate, store; reads hand stored bytes
//! through with as little work as possible.

pub mod cached;
pub mod codec;
pub mod continuation;
pub mod create;
pub mod delete;
pub mod metadata;
pub mod read;
pub mod selection;
pub mod update;
pub mod watch;
pub mod write;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::admission::allocator::Allocator;
use crate::authz::rbac::Policy;
use api::{Conversion, KindDef, Profile};
use apimachinery::Object;
use cached::{ObjectCache, Objects};
use storage::{Storage, cache::Cache};

/// A resource as it is served: one kind in one version.
pub struct Resource {
    /// The kind in the served version.
    pub def: &'static KindDef,
    /// The kind in the stored version; the same unless [`KindDef::conversion`] is there.
    pub stored: &'static KindDef,
    /// Prefix of its keys.
    pub prefix: String,
    /// What every stored object of the kind begins with: `{"kind":"Deployment","apiVersion":"apps/v1",`.
    pub head: String,
    /// How long objects live; `None` for ever.
    pub ttl: Option<Duration>,
    /// Index of the kind's cache: served versions of one stored kind share it.
    cache: usize,
}

/// Prefix of the keys of a kind.
fn keys_of(prefix: &str, def: &'static KindDef) -> String {
    let stored = api::kinds::storage_of(def);
    let group = if stored.group.is_empty() { "core" } else { stored.group };
    format!("{prefix}/{group}/{}/", stored.resource)
}

impl Resource {
    fn new(def: &'static KindDef, prefix: String, ttl: Option<Duration>, cache: usize) -> Self {
        let stored = api::kinds::storage_of(def);
        let head = format!(r#"{{"kind":"{}","apiVersion":"{}","#, stored.kind, stored.api_version());
        Self {
            def,
            stored,
            prefix,
            head,
            ttl,
            cache,
        }
    }

    /// A resource outside of a registry.
    #[cfg(test)]
    pub(crate) fn for_tests(group: &str, version: &str, resource: &str) -> Self {
        let def = api::kinds::by_resource(group, version, resource).expect("a served kind");
        Self::new(def, keys_of("/registry", def), None, 0)
    }

    /// The conversion between served and stored form.
    #[must_use]
    pub fn conversion(&self) -> Option<&'static Conversion> {
        self.def.conversion
    }

    /// Key of an object; `namespace` is empty for kinds without.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.def.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// Prefix of the keys of a namespace, or of all if it is empty.
    #[must_use]
    pub fn scope(&self, namespace: &str) -> String {
        if self.def.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/", self.prefix)
        } else {
            self.prefix.clone()
        }
    }

    /// Turns a stored object into the served version.
    pub fn to_served(&self, object: &mut Object) {
        if let Some(conversion) = self.conversion() {
            (conversion.from_storage)(object);
            codec::canonicalize(object);
        }
    }

    /// Whether there are objects at all: reviews are answered, not kept.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.def.verbs.contains(&"list")
    }

    /// Whether objects are owned through `metadata.namespace`.
    #[must_use]
    pub fn namespaced(&self) -> bool {
        self.def.namespaced
    }
}

/// Group and version of a served API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// Group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
}

/// Every served resource, over one store.
pub struct Registry {
    /// Where objects are.
    pub storage: Arc<dyn Storage>,
    /// Which of the two API servers this is.
    pub profile: Profile,
    /// Hands out what Services hold; `None` stores Services as they come.
    pub allocator: Option<Arc<Allocator>>,
    /// Whether new pods are given the credentials of their ServiceAccount.
    pub admits_accounts: bool,
    prefix: String,
    /// What roles and bindings grant, once it is known; unset without RBAC.
    pub policy: OnceLock<Arc<Policy>>,
    resources: Vec<Arc<Resource>>,
    by_path: BTreeMap<(&'static str, &'static str, &'static str), usize>,
    caches: Vec<OnceLock<Arc<ObjectCache>>>,
}

impl Registry {
    /// The kinds of a profile over a store. `event_ttl`: how long Events are kept. Without `allocator` Services are
    /// stored as they come.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        prefix: &str,
        profile: Profile,
        event_ttl: Duration,
        allocator: Option<Arc<Allocator>>,
    ) -> Self {
        let mut resources = Vec::new();
        let mut by_path = BTreeMap::new();
        let mut prefixes: Vec<String> = Vec::new();
        for def in api::kinds::of_profile(profile) {
            let keys = keys_of(prefix, def);
            let cache = prefixes.iter().position(|p| *p == keys).unwrap_or_else(|| {
                prefixes.push(keys.clone());
                prefixes.len() - 1
            });
            by_path.insert((def.group, def.version, def.resource), resources.len());
            let ttl = (def.kind == "Event").then_some(event_ttl);
            resources.push(Arc::new(Resource::new(def, keys, ttl, cache)));
        }
        let caches = prefixes.iter().map(|_| OnceLock::new()).collect();
        Self {
            storage,
            profile,
            allocator,
            admits_accounts: profile == Profile::Member,
            policy: OnceLock::new(),
            prefix: format!("{prefix}/"),
            resources,
            by_path,
            caches,
        }
    }

    /// The cache of a kind, started on first use.
    #[must_use]
    pub fn cache(&self, resource: &Resource) -> &Arc<ObjectCache> {
        self.caches[resource.cache]
            .get_or_init(|| Cache::start(self.storage.clone(), &resource.prefix, Objects::new(resource.stored)))
    }

    /// Prefix of every key.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The resource a path names.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Resource>> {
        // The map is keyed by static strings: a lookup borrows them for as long as the text lives.
        let key: (&str, &str, &str) = (group, version, resource);
        self.by_path.get(&key).map(|index| &self.resources[*index])
    }

    /// Whether there is anything of this group and version.
    #[must_use]
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.resources
            .iter()
            .any(|r| r.def.group == group && r.def.version == version)
    }

    /// Every resource in the order kinds are declared.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// Every resource in its stored version only: each object is met once.
    pub fn stored_resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().filter(|r| r.def.conversion.is_none())
    }

    /// The stored resource of a kind, whatever version `api_version` says.
    #[must_use]
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.resources
            .iter()
            .find(|r| r.def.group == group && r.def.version == version && r.def.kind == kind)
    }

    /// The served groups and versions: the core group first, then in the order kinds are declared.
    #[must_use]
    pub fn group_versions(&self) -> Vec<GroupVersion> {
        let mut all: Vec<GroupVersion> = Vec::new();
        for r in &self.resources {
            let gv = GroupVersion {
                group: r.def.group,
                version: r.def.version,
            };
            if !all.contains(&gv) {
                all.push(gv);
            }
        }
        all.sort_by_key(|gv| !gv.group.is_empty());
        all
    }
}
