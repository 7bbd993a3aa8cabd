//! `kubefed unjoin`: the reverse of `join`. What runs in the member stays unless `--cascade` says otherwise.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::well_known::TAINT_LEAVING;
use clap::Args;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};

use crate::federation::{self, Federation};
use crate::join::{CLUSTER_ROLE_NAME, Membership, SERVICE_ACCOUNT_NAME};
use crate::lifecycle::{self, set_taint};
use crate::progress::wait_for;
use crate::{Common, apply, kubeconfig};

/// Remove a cluster from the federation.
#[derive(Args, Clone)]
pub(crate) struct UnjoinArgs {
    /// Name of the cluster in the federation
    name: String,
    /// Context of the cluster that hosts the control plane
    #[arg(long, value_name = "CONTEXT")]
    host_cluster_context: String,
    /// Context of the cluster that leaves [default: NAME]
    #[arg(long, value_name = "CONTEXT")]
    cluster_context: Option<String>,
    /// Delete what the federation put into the cluster, instead of leaving it running
    #[arg(long)]
    cascade: bool,
    /// Remove the cluster even if it cannot be reached; its credentials stay in it
    #[arg(long)]
    force: bool,
    /// Seconds to wait until what runs in the cluster is ready elsewhere; 0 does not wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    replace_timeout: u64,
}

pub(crate) async fn run(common: &Common, args: UnjoinArgs) -> anyhow::Result<ExitCode> {
    let config = kubeconfig::read(common)?;
    let federation = federation::find(common, &config, &args.host_cluster_context).await?;
    let clusters = federation::clusters(&federation.client);
    let Some(cluster) = clusters
        .get_opt(&args.name)
        .await
        .context("cannot read the federation's clusters")?
    else {
        bail!("cluster {:?} is not in the federation {:?}", args.name, federation.name);
    };
    let member_context = args.cluster_context.clone().unwrap_or_else(|| args.name.clone());
    let member = match kubeconfig::client(&config, &member_context).await {
        Ok(member) => Some(member),
        Err(error) if args.force => {
            eprintln!("warning: {error:#}; its credentials and objects stay in it");
            None
        }
        Err(error) => return Err(error.context("use --force to remove the cluster all the same")),
    };
    if federation::condition(&cluster, "Ready") {
        replace(&federation.client, &args).await?;
    }
    clusters
        .delete(&args.name, &DeleteParams::default())
        .await
        .context("cannot delete the Cluster")?;
    wait_for("the Cluster to be gone", Duration::from_secs(60), || async {
        Ok(clusters.get_opt(&args.name).await?.is_none().then_some(()))
    })
    .await?;
    if let Some(member) = &member {
        if args.cascade {
            delete_propagated(member).await?;
        }
        remove_access(common, &args, &cluster, member).await?;
    }
    remove_secret(common, &federation, &cluster).await?;
    println!("cluster \"{}\" removed", args.name);
    Ok(ExitCode::SUCCESS)
}

/// Lets the other clusters take over before this one is no longer counted. What runs in it is left as it is.
async fn replace(federation: &Client, args: &UnjoinArgs) -> anyhow::Result<()> {
    if args.replace_timeout == 0 || federation::ready_clusters(federation).await? < 2 {
        return Ok(());
    }
    let leave = |spec: &mut serde_json::Value| set_taint(spec, TAINT_LEAVING, Some("NoExecute"));
    lifecycle::change(federation, &args.name, leave).await?;
    let replaced = wait_for(
        "its replicas to be ready elsewhere",
        Duration::from_secs(args.replace_timeout),
        || async { Ok(lifecycle::replaced(federation, &args.name).await?.then_some(())) },
    );
    if let Err(error) = replaced.await {
        eprintln!("warning: {error:#}; the cluster is removed all the same");
    }
    Ok(())
}

fn membership(common: &Common, cluster: &DynamicObject) -> Membership {
    let annotation = |key| apply::annotation(cluster, key).unwrap_or_default().to_owned();
    let secret = cluster
        .data
        .pointer("/spec/secretRef/name")
        .and_then(|name| name.as_str())
        .unwrap_or_default();
    Membership {
        name: cluster.name_any(),
        namespace: common.federation_system_namespace.clone(),
        account: annotation(SERVICE_ACCOUNT_NAME),
        role: annotation(CLUSTER_ROLE_NAME),
        secret: secret.to_owned(),
    }
}

async fn remove_access(
    common: &Common,
    args: &UnjoinArgs,
    cluster: &DynamicObject,
    member: &Client,
) -> anyhow::Result<()> {
    let membership = membership(common, cluster);
    if membership.account.is_empty() {
        eprintln!(
            "warning: cluster {:?} was not joined by kubefed: nothing to remove in it",
            args.name
        );
        return Ok(());
    }
    let made_by_join = [
        membership.cluster_role_binding(),
        membership.cluster_role(),
        membership.token_secret(),
        membership.service_account(),
    ];
    for object in made_by_join {
        apply::delete(member, &object).await.context("in the leaving cluster")?;
    }
    Ok(())
}

async fn remove_secret(common: &Common, federation: &Federation, cluster: &DynamicObject) -> anyhow::Result<()> {
    let membership = membership(common, cluster);
    if !membership.secret.is_empty() {
        apply::delete(&federation.host, &membership.host_secret())
            .await
            .context("in the host cluster")?;
    }
    Ok(())
}

/// The kinds the federation writes to members, dependents first; namespaces last.
const PROPAGATED: [(&str, &str, &str); 13] = [
    ("networking.k8s.io", "v1", "Ingress"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "ReplicaSet"),
    ("apps", "v1", "DaemonSet"),
    ("apps", "v1", "StatefulSet"),
    ("batch", "v1", "CronJob"),
    ("batch", "v1", "Job"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "ServiceAccount"),
];

/// Deletes everything that carries the federation's label. Namespaces stay: others may have put things there.
async fn delete_propagated(member: &Client) -> anyhow::Result<()> {
    let selector = format!("{}={}", api::well_known::MANAGED_BY, api::well_known::MANAGED_BY_VALUE);
    for (group, version, kind) in PROPAGATED {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let objects = Api::<DynamicObject>::all_with(member.clone(), &resource)
            .list(&ListParams::default().labels(&selector))
            .await
            .with_context(|| format!("cannot list {kind} objects of the leaving cluster"))?;
        for object in objects {
            let api = Api::<DynamicObject>::namespaced_with(
                member.clone(),
                &object.namespace().unwrap_or_default(),
                &resource,
            );
            match api.delete(&object.name_any(), &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot delete {kind} {}", object.name_any()));
                }
            }
        }
    }
    Ok(())
}
