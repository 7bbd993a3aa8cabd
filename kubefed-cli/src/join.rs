//! `kubefed join`: credentials in the member, a Secret in the host, a Cluster in the federation.
//!
//! What fails half way is undone, so that a second try starts clean.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, FromArgMatches as _};
use k8s_openapi::api::core::v1::Secret;
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::federation::{self, Federation};
use crate::progress::wait_for;
use crate::{Common, apply, kubeconfig};

/// Annotation of a Cluster: its ServiceAccount in the member (spelled as Federation v1 did).
pub(crate) const SERVICE_ACCOUNT_NAME: &str = "federation.kubernetes.io/servive-account-name";
/// Annotation of a Cluster: its ClusterRole in the member.
pub(crate) const CLUSTER_ROLE_NAME: &str = "federation.kubernetes.io/cluster-role-name";

/// Add a cluster to the federation.
#[derive(Args, Clone)]
pub(crate) struct JoinArgs {
    /// Name of the cluster in the federation: a DNS-1035 label
    name: String,
    /// Context of the cluster that hosts the control plane
    #[arg(long, value_name = "CONTEXT")]
    host_cluster_context: String,
    /// Context of the cluster that joins [default: NAME]
    #[arg(long, value_name = "CONTEXT")]
    cluster_context: Option<String>,
    /// Name of the Secret with the member's credentials in the host cluster [default: NAME-credentials]
    #[arg(long, value_name = "NAME")]
    secret_name: Option<String>,
    /// Address of the member's API server as the control plane reaches it [default: the one in the kubeconfig]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Labels of the Cluster object: key=value,…
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,…")]
    labels: Vec<String>,
    /// Print what would be created in the federation, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until the cluster is Ready, in seconds; 0 does not wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

impl JoinArgs {
    /// The defaults for a cluster whose context has its name.
    pub(crate) fn of(name: &str, host_context: &str) -> anyhow::Result<Self> {
        let command = Self::augment_args(clap::Command::new("join"));
        let matches = command.try_get_matches_from(["join", name, "--host-cluster-context", host_context])?;
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// What joins: the member, and the names of what is made for it.
pub(crate) struct Membership {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) secret: String,
}

impl Membership {
    pub(crate) fn service_account(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.account, "namespace": self.namespace}})
    }

    pub(crate) fn token_secret(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": {
            "name": format!("{}-token", self.account), "namespace": self.namespace,
            "annotations": {"kubernetes.io/service-account.name": self.account}}})
    }

    pub(crate) fn cluster_role(&self) -> Value {
        let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
        let rule =
            |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": all});
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": self.role}, "rules": [
            rule("", &["namespaces", "configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims"]),
            rule("apps", &["replicasets", "deployments", "daemonsets", "statefulsets"]),
            rule("batch", &["jobs", "cronjobs"]),
            rule("autoscaling", &["horizontalpodautoscalers"]),
            rule("policy", &["poddisruptionbudgets"]),
            rule("networking.k8s.io", &["ingresses", "networkpolicies"]),
            rule("scheduling.k8s.io", &["priorityclasses"]),
            rule("extensions", &["ingresses"]),
            {"apiGroups": [""], "resources": ["nodes", "pods", "pods/log", "endpoints", "events"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
            {"nonResourceURLs": ["/healthz", "/healthz/*", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]},
        ]})
    }

    pub(crate) fn cluster_role_binding(&self) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": self.role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.role},
            "subjects": [{"kind": "ServiceAccount", "name": self.account, "namespace": self.namespace}]})
    }

    pub(crate) fn host_secret(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.secret, "namespace": self.namespace}})
    }

    fn cluster(&self, server: &str, labels: &Value) -> Value {
        json!({"apiVersion": "federation/v1beta1", "kind": "Cluster",
        "metadata": {"name": self.name, "labels": labels, "annotations": {
            SERVICE_ACCOUNT_NAME: self.account, CLUSTER_ROLE_NAME: self.role}},
        "spec": {
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
            "secretRef": {"name": self.secret},
        }})
    }
}

pub(crate) async fn run(common: &Common, args: JoinArgs) -> anyhow::Result<ExitCode> {
    let wrong = apimachinery::names::dns1035_label(&args.name);
    if !wrong.is_empty() {
        bail!("invalid cluster name {:?}: {}", args.name, wrong.join("; "));
    }
    let labels = parse_labels(&args.labels)?;
    let config = kubeconfig::read(common)?;
    let member_context = args.cluster_context.clone().unwrap_or_else(|| args.name.clone());
    let server = match &args.server {
        Some(server) => server.clone(),
        None => kubeconfig::server(&config, &member_context)?,
    };
    let server = if server.contains("://") {
        server
    } else {
        format!("https://{server}")
    };
    let federation = federation::find(common, &config, &args.host_cluster_context).await?;
    let membership = Membership {
        account: format!("{}-{}", args.name, account_suffix(&args.host_cluster_context)),
        role: format!("federation-controller-manager:{}-{}", federation.name, args.name),
        secret: args
            .secret_name
            .clone()
            .unwrap_or_else(|| format!("{}-credentials", args.name)),
        namespace: common.federation_system_namespace.clone(),
        name: args.name.clone(),
    };
    let cluster = membership.cluster(&server, &labels);
    if args.dry_run {
        println!(
            "{}",
            serde_saphyr::to_string(&cluster).context("cannot print the Cluster")?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let clusters = federation::clusters(&federation.client);
    if clusters
        .get_opt(&args.name)
        .await
        .context("cannot read the federation's clusters")?
        .is_some()
    {
        bail!(
            "cluster {:?} has already joined the federation {:?}",
            args.name,
            federation.name
        );
    }
    let member = kubeconfig::client(&config, &member_context).await?;
    if let Err(error) = establish(&membership, &federation, &member, &config, &member_context, &cluster).await {
        undo(&membership, &federation, &member).await;
        return Err(error);
    }
    println!("cluster \"{}\" created", args.name);
    if args.timeout > 0 {
        wait_ready(&federation, &args.name, Duration::from_secs(args.timeout)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_labels(labels: &[String]) -> anyhow::Result<Value> {
    let mut map = serde_json::Map::new();
    for label in labels {
        let (key, value) = label
            .split_once('=')
            .with_context(|| format!("label {label:?} is not of the form key=value"))?;
        map.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(map))
}

/// A context's name as part of an object's name.
fn account_suffix(context: &str) -> String {
    let clean: String = context
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    clean.trim_matches('-').to_owned()
}

async fn establish(
    membership: &Membership,
    federation: &Federation,
    member: &Client,
    config: &Kubeconfig,
    member_context: &str,
    cluster: &Value,
) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": membership.namespace}});
    let prepared = [
        namespace,
        membership.service_account(),
        membership.cluster_role(),
        membership.cluster_role_binding(),
        membership.token_secret(),
    ];
    for object in prepared {
        apply::object(member, &object)
            .await
            .with_context(|| format!("in the joining cluster {member_context:?}"))?;
    }
    let secrets: Api<Secret> = Api::namespaced(member.clone(), &membership.namespace);
    let token_secret = format!("{}-token", membership.account);
    let (token, ca) = wait_for(
        &format!(
            "the joining cluster to issue a token for ServiceAccount {}",
            membership.account
        ),
        Duration::from_secs(30),
        || async {
            let data = secrets.get(&token_secret).await?.data.unwrap_or_default();
            let text = |key: &str| data.get(key).and_then(|b| String::from_utf8(b.0.clone()).ok());
            Ok(text("token").zip(text("ca.crt")))
        },
    )
    .await?;
    let ca = server_authority(config, member_context).unwrap_or(ca);
    let mut secret = membership.host_secret();
    secret["stringData"] = json!({"token": token, "ca.crt": ca});
    apply::object(&federation.host, &secret)
        .await
        .context("in the host cluster")?;
    apply::object(&federation.client, cluster)
        .await
        .context("in the federation")?;
    Ok(())
}

/// The certificate authority that the kubeconfig names for the member: its server may be reached through
/// another certificate than the one its pods know.
fn server_authority(config: &Kubeconfig, context_name: &str) -> Option<String> {
    let context = kubeconfig::context(config, context_name).ok()?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == context.cluster)?
        .cluster
        .as_ref()?;
    if let Some(data) = &cluster.certificate_authority_data {
        use base64::Engine as _;
        return String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok();
    }
    std::fs::read_to_string(cluster.certificate_authority.as_ref()?).ok()
}

async fn undo(membership: &Membership, federation: &Federation, member: &Client) {
    let leftovers = [
        (&federation.host, membership.host_secret()),
        (member, membership.cluster_role_binding()),
        (member, membership.cluster_role()),
        (member, membership.token_secret()),
        (member, membership.service_account()),
    ];
    for (client, object) in leftovers {
        if let Err(error) = apply::delete(client, &object).await {
            eprintln!("warning: left behind: {error:#}");
        }
    }
}

/// Waits until the controllers report the cluster Ready; says what they report if they do not.
async fn wait_ready(federation: &Federation, name: &str, limit: Duration) -> anyhow::Result<()> {
    let clusters = federation::clusters(&federation.client);
    wait_for(&format!("cluster {name:?} to be Ready"), limit, || async {
        let cluster = clusters.get(name).await?;
        if federation::condition(&cluster, "Ready") {
            return Ok(Some(()));
        }
        let reported = cluster
            .data
            .pointer("/status/conditions")
            .map(ToString::to_string)
            .unwrap_or_default();
        bail!("it has joined, but its conditions are {reported:?}")
    })
    .await
}
