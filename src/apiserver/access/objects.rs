//! What tokens refer to, looked up in the registry.

use std::sync::Arc;

use apimachinery::Object;
use async_trait::async_trait;

use crate::{
    authn::{TokenObjects, service_account::TokenObject},
    registry::{Registry, codec},
};

/// Asks the caches first, and the store for what they do not have yet.
pub(super) struct Objects {
    registry: Arc<Registry>,
}

impl Objects {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self {
            registry: Arc::clone(registry),
        }
    }
}

#[async_trait]
impl TokenObjects for Objects {
    async fn get(&self, kind: TokenObject, namespace: &str, name: &str) -> Option<Object> {
        let resource = self.registry.resource("", "v1", kind.resource())?;
        if let Some(entry) = self.registry.cache(resource).peek(&resource.key(namespace, name)) {
            return codec::decode_payload(&entry.payload).ok();
        }
        let stored = self.registry.get(resource, namespace, name).await.ok()?;
        codec::decode(&stored).ok()
    }
}
