//! Flags of `federation minicluster` and `federation minicluster node`.

use std::{net::IpAddr, path::PathBuf};

use ipnet::Ipv4Net;

use crate::{context::Identity, node::Capacity};

/// Flags of `federation minicluster`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Scheduler, node agents and service proxy for the API server of a kubeconfig, real or not
    Node(Box<NodeArgs>),
}

/// Flags of a whole minicluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Directory of the store, keys, kubeconfig, and pod volumes and logs.
    #[arg(long, default_value = "minicluster-data")]
    pub(crate) data_dir: PathBuf,
    /// Address that the API server listens on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) bind_address: IpAddr,
    /// Port of the API server; 0 takes a free one, which the first log line and the kubeconfig tell.
    #[arg(long, default_value_t = 0)]
    pub(crate) secure_port: u16,
    /// CSV file of bearer tokens: token,user,uid,"group1,group2".
    #[arg(long)]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// CA bundle (PEM): who presents a certificate signed by it is authenticated as its common name.
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Range of all addresses of the cluster: nodes, pods, services, load balancers. A free /16 between 127.16.0.0 and 127.254.0.0 if unset.
    #[arg(long)]
    pub(crate) pod_cidr: Option<Ipv4Net>,
    #[command(flatten)]
    pub(crate) nodes: NodesArgs,
}

/// Flags of `federation minicluster node`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Kubeconfig of the API server to serve.
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Directory of pod volumes and logs.
    #[arg(long, default_value = "minicluster-node-data")]
    pub(crate) data_dir: PathBuf,
    /// Range of the addresses of nodes, pods and load balancers; all of it must be local to this machine or network namespace, and outside of 127.0.0.0/8 for a real API server.
    #[arg(long)]
    pub(crate) pod_cidr: Ipv4Net,
    #[command(flatten)]
    pub(crate) nodes: NodesArgs,
}

/// Who the cluster is.
#[derive(Debug, clap::Args)]
pub(crate) struct IdentityArgs {
    /// Name of the cluster; nodes are called NAME-node-1 and so on.
    #[arg(long, default_value = "minicluster")]
    name: String,
    /// Region label of the nodes (topology.kubernetes.io/region).
    #[arg(long, default_value = "")]
    region: String,
    /// Zone label of the nodes (topology.kubernetes.io/zone).
    #[arg(long, default_value = "")]
    zone: String,
}

impl IdentityArgs {
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            cluster: self.name.clone(),
            region: self.region.clone(),
            zone: self.zone.clone(),
        }
    }
}

/// How many nodes there are, and how large.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    /// Nodes to register. Others may be added and removed with kubectl.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u32,
    /// CPUs of a node, as a quantity.
    #[arg(long, default_value = "4")]
    cpu: String,
    /// Memory of a node, as a quantity.
    #[arg(long, default_value = "16Gi")]
    memory: String,
    /// Pods that a node takes.
    #[arg(long, default_value_t = 110)]
    pods: u32,
}

impl NodesArgs {
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            pods: self.pods,
        }
    }
}
