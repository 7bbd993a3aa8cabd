//! Finding the federation that belongs to a host cluster, and its Cluster objects.

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::config::Kubeconfig;
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};

use crate::init::FEDERATION_NAME;
use crate::{Common, kubeconfig};

/// The host cluster and the federation it hosts.
pub(crate) struct Federation {
    /// Its name.
    pub(crate) name: String,
    /// The host cluster.
    pub(crate) host: Client,
    /// The federation's own API.
    pub(crate) client: Client,
}

/// Connects to the host cluster and to the federation it hosts.
pub(crate) async fn find(common: &Common, config: &Kubeconfig, host_context: &str) -> anyhow::Result<Federation> {
    let host = kubeconfig::client(config, host_context).await?;
    let namespace = &common.federation_system_namespace;
    let deployments = Api::<Deployment>::namespaced(host.clone(), namespace)
        .list(&Default::default())
        .await
        .with_context(|| format!("cannot list Deployments in {namespace} of {host_context:?}"))?;
    let named = deployments
        .items
        .iter()
        .find_map(|d| d.annotations().get(FEDERATION_NAME).cloned());
    let Some(name) = named else {
        bail!("{host_context:?} hosts no federation in namespace {namespace}: run `kubefed init` first")
    };
    let context = common.context.clone().unwrap_or_else(|| name.clone());
    let client = kubeconfig::client(config, &context).await?;
    Ok(Federation { name, host, client })
}

/// The API of Cluster objects.
pub(crate) fn clusters(client: &Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("federation", "v1beta1", "Cluster");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk))
}

/// Whether a Cluster's condition of that type is True.
pub(crate) fn condition(cluster: &DynamicObject, kind: &str) -> bool {
    let conditions = cluster.data.pointer("/status/conditions").and_then(|c| c.as_array());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

/// How many clusters are Ready.
pub(crate) async fn ready_clusters(client: &Client) -> anyhow::Result<usize> {
    let all = clusters(client).list(&Default::default()).await;
    let all = all.context("cannot list the federation's clusters")?;
    Ok(all.iter().filter(|cluster| condition(cluster, "Ready")).count())
}
