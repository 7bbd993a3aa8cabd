//! What the watch cache keeps of an object: its stored bytes, and what selectors look at.

use std::collections::BTreeMap;

use api::KindDef;
use bytes::Bytes;
use serde::Deserialize;
use storage::{
    KeyValue, Revision,
    cache::{Cache, Codec, Entry},
};

/// An object as the cache keeps it. The bytes are shared with the store.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The object as stored.
    pub value: Bytes,
    /// The revision it is shown at.
    pub revision: u64,
    /// Name.
    pub name: Box<str>,
    /// Namespace, empty if none.
    pub namespace: Box<str>,
    /// Labels, by key.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Values of the kind's selectable fields, in their order.
    pub fields: Box<[String]>,
}

impl Payload {
    /// Reads what selectors need out of a stored object.
    #[must_use]
    pub fn read(def: &KindDef, stored: &KeyValue) -> Self {
        let meta = serde_json::from_slice::<OnlyMeta>(&stored.value)
            .unwrap_or_default()
            .metadata;
        let fields = if def.selectable_fields.is_empty() {
            Box::default()
        } else {
            let object = serde_json::from_slice(&stored.value).unwrap_or_default();
            def.strategy.selectable_values(&object).into_boxed_slice()
        };
        Self {
            value: stored.value.clone(),
            revision: stored.modified.0,
            name: meta.name,
            namespace: meta.namespace,
            labels: meta.labels,
            fields,
        }
    }
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    namespace: Box<str>,
    #[serde(default)]
    labels: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Default, Deserialize)]
struct OnlyMeta {
    #[serde(default)]
    metadata: Meta,
}

/// Decodes the objects of one kind.
pub struct Objects {
    def: &'static KindDef,
}

impl Objects {
    /// For a kind as it is stored.
    #[must_use]
    pub fn new(def: &'static KindDef) -> Self {
        Self { def }
    }
}

impl Codec for Objects {
    type Payload = Payload;

    fn decode(&self, stored: &KeyValue) -> Payload {
        Payload::read(self.def, stored)
    }

    fn restamp(&self, payload: &Payload, revision: Revision) -> Payload {
        Payload {
            revision: revision.0,
            ..payload.clone()
        }
    }

    fn weight(&self, payload: &Payload) -> usize {
        payload.value.len() + 256
    }
}

/// The cache of one kind.
pub type ObjectCache = Cache<Objects>;
/// A version of an object in it.
pub type Item = Entry<Payload>;
