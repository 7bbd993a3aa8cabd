//! Command-line options. Names are those of kube-apiserver wherever it has them, so that manifests and habits carry over.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use apimachinery::duration;
use clap::Parser;

/// Admission of pods by their account, as `--disable-admission-plugins` names it.
pub(crate) const SERVICE_ACCOUNT: &str = "ServiceAccount";

/// Options of `federation apiserver`, and of the apiserver inside a minicluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directory of the embedded store, generated certificates and admin.kubeconfig.
    #[arg(long, default_value = "federation-data")]
    pub data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Port to listen on; 0 takes a free one, which the first log line and the kubeconfig tell.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address that members of the cluster reach this server at; the bind address if unset.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Host name used in generated URLs and certificates.
    #[arg(long)]
    pub external_hostname: Option<String>,
    /// Server certificate (PEM, with intermediates). Without it the server makes its own CA and certificates.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key of --tls-cert-file (PEM).
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// CA bundle (PEM): who presents a certificate signed by it is authenticated as its common name, with its organizations as groups.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// CSV file of bearer tokens: token,user,uid,"group1,group2".
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Whether requests without credentials are served as system:anonymous.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub anonymous_auth: bool,
    /// Comma-separated authorizers: RBAC, Node, AlwaysAllow, AlwaysDeny.
    #[arg(long, default_value = "RBAC", value_delimiter = ',')]
    pub authorization_mode: Vec<String>,
    /// Issuer of ServiceAccount tokens.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    pub service_account_issuer: String,
    /// Keys (PEM) that verify ServiceAccount tokens; generated if unset.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// Private key (PEM) that signs ServiceAccount tokens; generated if unset.
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Comma-separated URLs of etcd; the embedded store is used if unset.
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// CA bundle that verifies etcd.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// Private key of --etcd-certfile.
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// Prefix of every key in etcd.
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// How long Events are kept.
    #[arg(long, default_value = "1h", value_parser = duration::parse)]
    pub event_ttl: Duration,
    /// Range that Services get their clusterIP from (member clusters only).
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: ipnet::IpNet,
    /// Range that NodePort and LoadBalancer Services get their node ports from (member clusters only).
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: PortRange,
    /// Admission that is left out, separated by commas: ServiceAccount, which gives pods the credentials of their account
    /// (member clusters only).
    #[arg(long, value_delimiter = ',', value_parser = [SERVICE_ACCOUNT])]
    pub disable_admission_plugins: Vec<String>,
    /// How long a request that is no watch may take.
    #[arg(long, default_value = "1m", value_parser = duration::parse)]
    pub request_timeout: Duration,
    /// Requests that may be served at a time, watches not counted; 429 beyond.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Changing requests that may be served at a time; 429 beyond.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long open requests may take to end after a termination signal.
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    pub shutdown_grace_period: Duration,
}

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// The options a command line gives, without the program's name.
    ///
    /// # Errors
    /// What clap says of an unknown or malformed option.
    pub fn parse_line<I, S>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<std::ffi::OsString> + Clone,
    {
        let program = std::iter::once(std::ffi::OsString::from("apiserver"));
        Alone::try_parse_from(program.chain(line.into_iter().map(Into::into))).map(|alone| alone.args)
    }
}

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no port range such as 30000-32767");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first = first.parse().map_err(|_| wrong())?;
        let last = last.parse().map_err(|_| wrong())?;
        if first > last || first == 0 {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_kube_apiserver_are_accepted() {
        let args = Args::parse_line([
            "--data-dir=/tmp/d",
            "--anonymous-auth=false",
            "--etcd-servers=http://a:2379,http://b:2379",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-node-port-range=31000-31010",
        ])
        .unwrap();
        assert!(!args.anonymous_auth);
        assert_eq!(args.etcd_servers.len(), 2);
        assert_eq!(
            args.service_node_port_range,
            PortRange {
                first: 31000,
                last: 31010
            }
        );
        assert!(Args::parse_line(["--service-node-port-range=9-1"]).is_err());
    }
}
