//! Flags of the controller manager.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use apimachinery::duration;

/// Runs the controllers of a federation.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig of the federation API
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Kubeconfig of the host cluster, where the credentials of members are
    #[arg(long, value_name = "FILE", conflicts_with = "host_credentials_dir")]
    pub host_kubeconfig: Option<PathBuf>,
    /// Directory with the token and ca.crt of a ServiceAccount in the host cluster
    #[arg(long, value_name = "DIR")]
    pub host_credentials_dir: Option<PathBuf>,
    /// Namespace of the control plane in the host cluster
    #[arg(long, default_value = api::well_known::SYSTEM_NAMESPACE)]
    pub federation_system_namespace: String,
    /// Act only while holding a Lease, so that several controller managers can run
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Time between two probes of a cluster
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    pub cluster_monitor_period: Duration,
    /// Failed probes in a row that make a cluster Offline
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub cluster_monitor_failure_threshold: u32,
    /// Time after which the replicas of a cluster that does not answer run elsewhere
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    pub cluster_lost_after: Duration,
    /// Time that a cluster which was lost must be well before it gets its share again
    #[arg(long, default_value = "20s", value_parser = duration::parse)]
    pub cluster_return_after: Duration,
    /// Objects per second whose replicas go back to a cluster that was lost, those that left first; 0: all at once
    #[arg(long, default_value_t = 10, value_name = "OBJECTS")]
    pub cluster_return_rate: u32,
    /// Time that a pod may be unschedulable before its replica moves to another cluster
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    pub pod_unschedulable_after: Duration,
    /// Time to wait for an answer of a member cluster
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    pub member_request_timeout: Duration,
    /// Objects planned, and objects written per member, at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent_syncs: u16,
    /// Address of /metrics, /healthz, /livez and /readyz; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:10253", value_parser = telemetry::socket_address)]
    pub metrics_bind_address: SocketAddr,
}
