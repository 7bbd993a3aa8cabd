//! `kubefed init`: a control plane, as plain objects in a host cluster.
//!
//! Everything is written by server-side apply, so that a run that was interrupted is simply run again: what exists
//! stays (certificates above all), what is missing is added.

mod files;
mod manifests;
mod readiness;
mod security;

pub(crate) use files::FileSource;
pub(crate) use manifests::FEDERATION_NAME;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, FromArgMatches as _, ValueEnum};
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::certificates::{Authority, Pair};
use crate::progress::{step, wait_for};
use crate::{Common, apply, kubeconfig};
use manifests::Plane;

/// Start a federation control plane in a host cluster.
#[derive(Args, Clone)]
pub(crate) struct InitArgs {
    /// Name of the federation, and of its context in the kubeconfig
    pub(crate) name: String,
    /// Context of the cluster that hosts the control plane [default: the current context]
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) host_cluster_context: Option<String>,
    /// Image of the control plane
    #[arg(long, default_value = concat!("kubefed/federation:v", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
    /// When nodes pull the image: Always, IfNotPresent or Never
    #[arg(long, default_value = "IfNotPresent", value_name = "POLICY")]
    pub(crate) image_pull_policy: String,
    /// Names of Secrets with registry credentials, in the control plane's namespace
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) image_pull_secrets: Vec<String>,
    /// How the API server is reached from outside the host cluster
    #[arg(long, value_enum, default_value_t = ServiceType::LoadBalancer)]
    pub(crate) api_server_service_type: ServiceType,
    /// Address under which the nodes of the host cluster are reached [default: their ExternalIP or InternalIP]; needs NodePort
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api_server_advertise_address: Option<String>,
    /// Node port of the API server; 0 lets the cluster choose; needs NodePort
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) api_server_port: u16,
    /// etcd to store the federation in, instead of the embedded store: comma-separated URLs
    #[arg(long, value_delimiter = ',', value_name = "URL,…")]
    pub(crate) etcd_servers: Vec<String>,
    /// Keep the embedded store on a persistent volume; `false` loses the federation with its pod
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) persistent_storage: bool,
    /// Size of the persistent volume
    #[arg(long, default_value = "10Gi", value_name = "QUANTITY")]
    pub(crate) storage_capacity: String,
    /// Storage class of the persistent volume [default: the cluster's]
    #[arg(long, value_name = "CLASS")]
    pub(crate) storage_class: Option<String>,
    /// Labels that nodes must have to run the control plane: key=value,…
    #[arg(long, value_delimiter = ',', value_parser = key_value, value_name = "KEY=VALUE,…")]
    pub(crate) node_selector: Vec<(String, String)>,
    /// More arguments for the API server: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) apiserver_arg_overrides: Vec<String>,
    /// More arguments for the controllers: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) controllermanager_arg_overrides: Vec<String>,
    /// More arguments for the load balancer: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) ingress_arg_overrides: Vec<String>,
    /// Address of its node that the load balancer listens on
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
    pub(crate) ingress_bind_address: String,
    /// Port of its node that the load balancer serves HTTP on
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    pub(crate) ingress_http_port: u16,
    /// Port of its node that the load balancer serves HTTPS on
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    pub(crate) ingress_https_port: u16,
    /// Port of its node that the load balancer serves metrics and health on
    #[arg(long, default_value_t = 10254, value_name = "PORT")]
    pub(crate) ingress_metrics_port: u16,
    /// Address that Ingresses show in their status, repeatable [default: the load balancer's node]
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) ingress_publish_address: Vec<String>,
    /// Files for the load balancer, at /etc/federation/files: configmap/NAME, secret/NAME, pvc/NAME, or a /DIRECTORY of its node
    #[arg(long, value_name = "SOURCE")]
    pub(crate) ingress_files: Option<FileSource>,
    /// Print what would be created, as YAML, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait for the control plane, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// Types of the API server's Service.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub(crate) enum ServiceType {
    /// An address of the cloud's load balancer.
    LoadBalancer,
    /// A port on every node of the host cluster.
    NodePort,
}

impl InitArgs {
    /// The defaults for a federation of that name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let command = Self::augment_args(clap::Command::new("init"));
        let matches = command
            .try_get_matches_from(["init", name])
            .context("invalid federation name")?;
        Self::from_arg_matches(&matches).context("invalid federation name")
    }
}

impl ServiceType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Where the API server is reached: from outside, and from inside the host cluster.
struct Endpoint {
    hosts: Vec<String>,
    port: u16,
    cluster_ip: String,
}

impl Endpoint {
    fn url(&self) -> String {
        let host = &self.hosts[0];
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        if self.port == 443 {
            format!("https://{host}")
        } else {
            format!("https://{host}:{}", self.port)
        }
    }
}

pub(crate) async fn run(common: &Common, args: InitArgs) -> anyhow::Result<ExitCode> {
    check(&args)?;
    let plane = Plane {
        federation: &args.name,
        namespace: &common.federation_system_namespace,
        args: &args,
    };
    if args.dry_run {
        print_dry_run(&plane)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = kubeconfig::read(common)?;
    let host_context = match &args.host_cluster_context {
        Some(name) => name.clone(),
        None => config
            .current_context
            .clone()
            .context("no current context: give --host-cluster-context")?,
    };
    let host = kubeconfig::client(&config, &host_context).await?;
    let limit = Duration::from_secs(args.timeout);

    step(
        &format!(
            "Creating a namespace {} for federation system components",
            plane.namespace
        ),
        apply::object(&host, &plane.namespace()),
    )
    .await?;
    let endpoint = step("Creating federation control plane service", async {
        apply::object(&host, &plane.service()).await?;
        endpoint(&host, &plane, limit).await
    })
    .await?;
    let admin = step(
        "Creating federation control plane objects (credentials, storage, access)",
        async {
            let credentials = credentials(&host, &plane, &endpoint).await?;
            for object in plane.data_claim().into_iter().chain(plane.access()) {
                apply::object(&host, &object).await?;
            }
            Ok(credentials)
        },
    )
    .await?;
    step("Creating federation component deployments", async {
        for deployment in [plane.apiserver(), plane.controller_manager(), plane.ingress()] {
            apply::object(&host, &deployment).await?;
        }
        Ok(())
    })
    .await?;
    step("Updating kubeconfig", async {
        update_kubeconfig(common, &args.name, &endpoint, &admin)
    })
    .await?;
    step("Waiting for federation control plane to come up", async {
        for name in [manifests::APISERVER, manifests::CONTROLLER_MANAGER, manifests::INGRESS] {
            readiness::deployment(&host, plane.namespace, name, limit).await?;
        }
        let config = kubeconfig::read(common)?;
        wait_for("the federation API server to answer", limit, || async {
            kubeconfig::client(&config, &args.name).await.map(Some)
        })
        .await
    })
    .await?;
    println!("Federation API server is running at: {}", endpoint.url());
    Ok(ExitCode::SUCCESS)
}

fn check(args: &InitArgs) -> anyhow::Result<()> {
    let wrong = apimachinery::names::dns1123_subdomain(&args.name);
    if !wrong.is_empty() {
        bail!("invalid federation name {:?}: {}", args.name, wrong.join("; "));
    }
    if args.api_server_service_type != ServiceType::NodePort {
        if args.api_server_advertise_address.is_some() {
            bail!("--api-server-advertise-address needs --api-server-service-type=NodePort");
        }
        if args.api_server_port != 0 {
            bail!("--api-server-port needs --api-server-service-type=NodePort");
        }
    }
    Ok(())
}

fn print_dry_run(plane: &Plane<'_>) -> anyhow::Result<()> {
    let objects = [plane.namespace(), plane.service()]
        .into_iter()
        .chain(plane.data_claim())
        .chain(plane.access())
        .chain([plane.apiserver(), plane.controller_manager(), plane.ingress()]);
    for object in objects {
        println!(
            "---\n{}",
            serde_saphyr::to_string(&object).context("cannot print a manifest")?
        );
    }
    println!("# Federation control plane runs (dry run); its credentials are made when it is not");
    Ok(())
}

/// Waits until the API server's Service has an address.
async fn endpoint(host: &Client, plane: &Plane<'_>, limit: Duration) -> anyhow::Result<Endpoint> {
    let services: Api<Service> = Api::namespaced(host.clone(), plane.namespace);
    let service = services
        .get(manifests::APISERVER)
        .await
        .context("cannot read the API server's Service")?;
    let cluster_ip = service
        .spec
        .and_then(|s| s.cluster_ip)
        .context("the API server's Service has no cluster IP")?;
    match plane.args.api_server_service_type {
        ServiceType::LoadBalancer => {
            let hosts = wait_for(
                "the cloud to give the API server's Service an address",
                limit,
                || async {
                    let service = services.get(manifests::APISERVER).await?;
                    let ingress = service
                        .status
                        .and_then(|s| s.load_balancer)
                        .and_then(|l| l.ingress)
                        .unwrap_or_default();
                    let hosts: Vec<_> = ingress.into_iter().filter_map(|i| i.ip.or(i.hostname)).collect();
                    Ok((!hosts.is_empty()).then_some(hosts))
                },
            )
            .await?;
            Ok(Endpoint {
                hosts,
                port: 443,
                cluster_ip,
            })
        }
        ServiceType::NodePort => {
            let port = wait_for("the API server's Service to get a node port", limit, || async {
                let service = services.get(manifests::APISERVER).await?;
                let ports = service.spec.and_then(|s| s.ports).unwrap_or_default();
                Ok(ports
                    .first()
                    .and_then(|p| p.node_port)
                    .and_then(|p| u16::try_from(p).ok()))
            })
            .await?;
            let hosts = match &plane.args.api_server_advertise_address {
                Some(address) => vec![address.clone()],
                None => {
                    wait_for("the host cluster to have a node with an address", limit, || async {
                        let hosts = node_addresses(host).await?;
                        Ok((!hosts.is_empty()).then_some(hosts))
                    })
                    .await?
                }
            };
            Ok(Endpoint {
                hosts,
                port,
                cluster_ip,
            })
        }
    }
}

/// External addresses of the nodes, or internal ones if there are none.
async fn node_addresses(host: &Client) -> anyhow::Result<Vec<String>> {
    let nodes = Api::<Node>::all(host.clone())
        .list(&Default::default())
        .await
        .context("cannot list nodes")?;
    let of_type = |kind: &str| -> Vec<String> {
        let addresses = nodes
            .items
            .iter()
            .filter_map(|n| n.status.as_ref()?.addresses.as_ref())
            .flatten();
        addresses
            .filter(|a| a.type_ == kind)
            .map(|a| a.address.clone())
            .collect()
    };
    let external = of_type("ExternalIP");
    Ok(if external.is_empty() {
        of_type("InternalIP")
    } else {
        external
    })
}

/// What `init` knows of the administrator's access afterwards.
struct Admin {
    authority: String,
    client: Pair,
}

/// Makes the certificates, or takes those of an earlier run.
async fn credentials(host: &Client, plane: &Plane<'_>, endpoint: &Endpoint) -> anyhow::Result<Admin> {
    let secrets: Api<Secret> = Api::namespaced(host.clone(), plane.namespace);
    let admin_secret = "admin-credentials";
    if let Some(existing) = secrets
        .get_opt(admin_secret)
        .await
        .context("cannot read the control plane's credentials")?
    {
        let text = |key: &str| {
            let bytes = existing.data.as_ref().and_then(|data| data.get(key));
            bytes
                .and_then(|b| String::from_utf8(b.0.clone()).ok())
                .with_context(|| format!("Secret {}/{admin_secret} has no {key}", plane.namespace))
        };
        let client = Pair {
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
        };
        return Ok(Admin {
            authority: text("ca.crt")?,
            client,
        });
    }
    let authority = Authority::new(plane.federation)?;
    let mut names = endpoint.hosts.clone();
    for suffix in ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"] {
        names.push(format!(
            "{}{}",
            manifests::APISERVER,
            suffix.replace("NS", plane.namespace)
        ));
    }
    names.extend([
        endpoint.cluster_ip.clone(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ]);
    let server = authority.server("federation-apiserver", &names)?;
    apply::object(host, &plane.apiserver_secret(&authority, &server, &random_token())).await?;
    for (component, user) in [
        (manifests::CONTROLLER_MANAGER, "system:federation-controller-manager"),
        (manifests::INGRESS, "system:federation-ingress"),
    ] {
        let client = authority.client(user, Some("system:masters"))?;
        let config = component_kubeconfig(plane, endpoint, &authority, &client, user);
        let secret = plane.secret(&format!("{component}-kubeconfig"), json!({"kubeconfig": config}));
        apply::object(host, &secret).await?;
    }
    let client = authority.client("admin", Some("system:masters"))?;
    // Last: its presence says that the others are there.
    let secret = plane.secret(
        admin_secret,
        json!({"ca.crt": authority.certificate(), "tls.crt": client.certificate, "tls.key": client.key}),
    );
    apply::object(host, &secret).await?;
    Ok(Admin {
        authority: authority.certificate(),
        client,
    })
}

fn random_token() -> String {
    (0..32)
        .map(|_| char::from(b"0123456789abcdef"[rand::random_range(0..16)]))
        .collect()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The kubeconfig of a component: it reaches the API server through the Service's cluster address, which
/// works on the host's network as well, where cluster DNS does not.
fn component_kubeconfig(
    plane: &Plane<'_>,
    endpoint: &Endpoint,
    authority: &Authority,
    client: &Pair,
    user: &str,
) -> String {
    let host = &endpoint.cluster_ip;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": plane.federation,
        "clusters": [{"name": plane.federation, "cluster": {
            "server": format!("https://{host}:{}", plane.service_port()),
            "certificate-authority-data": base64(&authority.certificate()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": base64(&client.certificate), "client-key-data": base64(&client.key),
        }}],
        "contexts": [{"name": plane.federation, "context": {"cluster": plane.federation, "user": user}}],
    });
    // JSON is YAML.
    config.to_string()
}

fn update_kubeconfig(common: &Common, name: &str, endpoint: &Endpoint, admin: &Admin) -> anyhow::Result<()> {
    let cluster = kube::config::Cluster {
        server: Some(endpoint.url()),
        certificate_authority_data: Some(base64(&admin.authority)),
        ..Default::default()
    };
    let user = kube::config::AuthInfo {
        client_certificate_data: Some(base64(&admin.client.certificate)),
        client_key_data: Some(base64(&admin.client.key).into()),
        ..Default::default()
    };
    kubeconfig::merge_into(&kubeconfig::path(common)?, name, cluster, user)
}
