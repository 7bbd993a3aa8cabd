//! The ConfigMaps and Secrets that a pod refers to, read from the API server.

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use kube::{Api, Client};

use super::{Error, Volumes};
use crate::{node::environment::Sources, write::code};

impl Volumes<'_> {
    /// Reads what the environment of a container refers to.
    pub(crate) async fn sources(&self, container: &Container) -> Result<Sources, Error> {
        let mut sources = Sources::default();
        let from = container.env_from.iter().flatten();
        let env = || {
            container
                .env
                .iter()
                .flatten()
                .filter_map(|variable| variable.value_from.as_ref())
        };
        let config_maps = from
            .clone()
            .filter_map(|from| from.config_map_ref.as_ref().map(|source| source.name.clone()));
        let config_maps =
            config_maps.chain(env().filter_map(|from| from.config_map_key_ref.as_ref().map(|key| key.name.clone())));
        for name in config_maps.collect::<Vec<_>>() {
            if let Some(config_map) = config_map(self.client, self.namespace(), &name).await? {
                sources.config_maps.insert(name, config_map.data.unwrap_or_default());
            }
        }
        let secrets = from.filter_map(|from| from.secret_ref.as_ref().map(|source| source.name.clone()));
        let secrets = secrets.chain(env().filter_map(|from| from.secret_key_ref.as_ref().map(|key| key.name.clone())));
        for name in secrets.collect::<Vec<_>>() {
            if let Some(secret) = secret(self.client, self.namespace(), &name).await? {
                let data = secret.data.unwrap_or_default().into_iter();
                let text = data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()));
                sources.secrets.insert(name, text.collect());
            }
        }
        Ok(sources)
    }
}

/// A Secret; `None` if there is none.
pub(super) async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    found(api.get(name).await, "Secret", name)
}

/// A ConfigMap; `None` if there is none.
pub(super) async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Option<ConfigMap>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    found(api.get(name).await, "ConfigMap", name)
}

fn found<K>(answer: Result<K, kube::Error>, kind: &'static str, name: &str) -> Result<Option<K>, Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if code(&error) == Some(404) => Ok(None),
        Err(source) => Err(Error::Read {
            kind,
            name: name.to_owned(),
            source: Box::new(source),
        }),
    }
}
