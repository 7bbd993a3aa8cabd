//! The volumes of a pod that is run as processes: directories under the data directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{
        Container, DownwardAPIVolumeFile, KeyToPath, Pod, SecretVolumeSource, ServiceAccount,
        ServiceAccountTokenProjection, Volume, VolumeProjection,
    },
};
use kube::{Api, Client, api::PostParams};

pub(crate) use self::files::make_dir;
use self::{
    files::{Files, pick, write_all},
    sources::{config_map, secret},
};
use super::environment::{self, Mount};

/// Where containers find their ServiceAccount's credentials.
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds a token is asked for: an hour, and a bit that tells default tokens from others.
const TOKEN_SECONDS: i64 = 3607;

/// Why a volume could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What it is made of does not exist.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {kind} \"{name}\" not found")]
    NotFound {
        /// The volume.
        volume: String,
        /// Kind of the missing object, lower case.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key that is asked for is not there.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : references non-existent config key: {key}")]
    MissingKey {
        /// The volume.
        volume: String,
        /// The key.
        key: String,
    },
    /// A reference of the environment leads nowhere.
    #[error("cannot make volume {volume}")]
    Field {
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: environment::Error,
    },
    /// The API server refused.
    #[error("cannot read {kind} {name}")]
    Read {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No such kind of volume here.
    #[error("volume {0} is of a kind that is not supported")]
    Unsupported(String),
}

/// Makes the volumes of one pod.
pub(crate) struct Volumes<'a> {
    /// Reads Secrets and ConfigMaps, asks for tokens.
    pub(crate) client: &'a Client,
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// The data directory of the node.
    pub(crate) data_dir: &'a Path,
    /// The pod's directory.
    pub(crate) pod_dir: &'a Path,
    /// The pod's address and its node's.
    pub(crate) ips: (&'a str, &'a str),
}

mod files;
mod sources;

impl Volumes<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Makes (or refreshes) every volume and returns the mounts of a container.
    pub(crate) async fn mounts(&self, container: &Container) -> Result<Vec<Mount>, Error> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let Some(volume) = volume else {
                return Err(Error::Unsupported(mount.name.clone()));
            };
            let mut stands_in = self.volume(volume).await?;
            if let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
                stands_in.push(sub_path);
            }
            mounts.push(Mount {
                path: mount.mount_path.clone(),
                stands_in,
            });
        }
        let credentials = mounts
            .iter()
            .any(|mount| mount.path.trim_end_matches('/') == SERVICE_ACCOUNT);
        if !credentials && spec.automount_service_account_token != Some(false) {
            let stands_in = self.credentials().await?;
            mounts.push(Mount {
                path: SERVICE_ACCOUNT.to_owned(),
                stands_in,
            });
        }
        // The same place under its other name.
        let linked: Vec<_> = mounts
            .iter()
            .filter_map(|mount| {
                let path = mount
                    .path
                    .strip_prefix("/var/run/")
                    .map(|rest| format!("/run/{rest}"))?;
                Some(Mount {
                    path,
                    stands_in: mount.stands_in.clone(),
                })
            })
            .collect();
        mounts.extend(linked);
        Ok(mounts)
    }

    /// Whether the Secrets and ConfigMaps are there that the pod's volumes are made of; makes nothing.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        for volume in self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            if let Some(source) = &volume.secret {
                self.secret(&volume.name, source).await?;
            } else if let Some(source) = &volume.config_map {
                let items = source.items.as_deref();
                self.config_map(&volume.name, &source.name, items, source.optional)
                    .await?;
            }
        }
        Ok(())
    }

    async fn volume(&self, volume: &Volume) -> Result<PathBuf, Error> {
        let dir = self.pod_dir.join("volumes").join(&volume.name);
        let name = volume.name.as_str();
        if let Some(source) = &volume.host_path {
            return Ok(PathBuf::from(&source.path));
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            let dir = self
                .data_dir
                .join("volumes")
                .join(self.namespace())
                .join(&claim.claim_name);
            make_dir(&dir)?;
            return Ok(dir);
        }
        make_dir(&dir)?;
        if volume.empty_dir.is_some() || volume.ephemeral.is_some() {
            return Ok(dir);
        }
        let files = if let Some(source) = &volume.secret {
            self.secret(name, source).await?
        } else if let Some(source) = &volume.config_map {
            self.config_map(name, &source.name, source.items.as_deref(), source.optional)
                .await?
        } else if let Some(source) = &volume.downward_api {
            self.downward(name, source.items.as_deref())?
        } else if let Some(source) = &volume.projected {
            let mut files = Files::new();
            for projection in source.sources.iter().flatten() {
                files.extend(self.projection(name, projection).await?);
            }
            files
        } else {
            return Err(Error::Unsupported(volume.name.clone()));
        };
        write_all(&dir, &files)?;
        Ok(dir)
    }

    async fn projection(&self, volume: &str, source: &VolumeProjection) -> Result<Files, Error> {
        if let Some(secret) = &source.secret {
            let source = SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                items: secret.items.clone(),
                optional: secret.optional,
                default_mode: None,
            };
            return self.secret(volume, &source).await;
        }
        if let Some(config_map) = &source.config_map {
            return self
                .config_map(
                    volume,
                    &config_map.name,
                    config_map.items.as_deref(),
                    config_map.optional,
                )
                .await;
        }
        if let Some(downward) = &source.downward_api {
            return self.downward(volume, downward.items.as_deref());
        }
        if let Some(token) = &source.service_account_token {
            let text = self.token(token).await?;
            return Ok([(token.path.clone(), text.into_bytes())].into());
        }
        Err(Error::Unsupported(volume.to_owned()))
    }

    /// Token, CA and namespace, as the ServiceAccount admission of a real cluster mounts them.
    async fn credentials(&self) -> Result<PathBuf, Error> {
        let dir = self.pod_dir.join("volumes").join("kube-api-access");
        make_dir(&dir)?;
        let projection = ServiceAccountTokenProjection {
            audience: None,
            expiration_seconds: None,
            path: "token".into(),
        };
        let mut files = self
            .config_map("kube-api-access", "kube-root-ca.crt", None, None)
            .await?;
        files.insert("token".into(), self.token(&projection).await?.into_bytes());
        files.insert("namespace".into(), self.namespace().as_bytes().to_vec());
        write_all(&dir, &files)?;
        Ok(dir)
    }

    async fn token(&self, source: &ServiceAccountTokenProjection) -> Result<String, Error> {
        let spec = self.pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|name| !name.is_empty());
        let account = account.unwrap_or_else(|| "default".into());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: source
                    .audience
                    .clone()
                    .filter(|audience| !audience.is_empty())
                    .map(|audience| vec![audience]),
                expiration_seconds: Some(source.expiration_seconds.unwrap_or(TOKEN_SECONDS)),
                bound_object_ref: Some(k8s_openapi::api::authentication::v1::BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: self.pod.metadata.name.clone(),
                    uid: self.pod.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.namespace());
        match api
            .create_token_request(&account, &PostParams::default(), &request)
            .await
        {
            Ok(answer) => Ok(answer.status.and_then(|status| status.token).unwrap_or_default()),
            Err(source) => Err(Error::Read {
                kind: "token of service account",
                name: account,
                source: Box::new(source),
            }),
        }
    }

    async fn secret(&self, volume: &str, source: &SecretVolumeSource) -> Result<Files, Error> {
        let name = source.secret_name.clone().unwrap_or_default();
        let data = secret(self.client, self.namespace(), &name).await?;
        let data = data.map(|secret| {
            secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect()
        });
        pick(
            volume,
            ("secret", &name),
            data,
            source.items.as_deref(),
            source.optional,
        )
    }

    async fn config_map(
        &self,
        volume: &str,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Files, Error> {
        let data = config_map(self.client, self.namespace(), name)
            .await?
            .map(|config_map| {
                let text = config_map
                    .data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, value.into_bytes()));
                let binary = config_map
                    .binary_data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, value.0));
                text.chain(binary).collect()
            });
        pick(volume, ("configmap", name), data, items, optional)
    }

    fn downward(&self, volume: &str, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Files, Error> {
        let mut files = Files::new();
        for item in items.into_iter().flatten() {
            let Some(reference) = &item.field_ref else { continue };
            let value =
                environment::field(self.pod, &reference.field_path, self.ips.0, self.ips.1).map_err(|source| {
                    Error::Field {
                        volume: volume.to_owned(),
                        source,
                    }
                })?;
            files.insert(item.path.clone(), value.into_bytes());
        }
        Ok(files)
    }
}
