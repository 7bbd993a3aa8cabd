//! Command-line options. Names are those of kube-apiserver wherever it has them, so that manifests and habits carry over.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Parser;

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
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub event_ttl: Duration,
    /// Range that Services get their clusterIP from (member clusters only).
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: ipnet::IpNet,
    /// Range that NodePort and LoadBalancer Services get their node ports from (member clusters only).
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: PortRange,
    /// How long a request that is no watch may take.
    #[arg(long, default_value = "1m", value_parser = parse_duration)]
    pub request_timeout: Duration,
    /// Requests that may be served at a time, watches not counted; 429 beyond.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Changing requests that may be served at a time; 429 beyond.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long open requests may take to end after a termination signal.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
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

/// A duration as Go writes it: `90s`, `1m30s`, `500ms`, `1.5h`.
///
/// # Errors
/// If the text is no such duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no duration such as 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += amount
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[letters..];
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Duration::try_from_secs_f64(total).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_form_of_go() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "1d", "-1s", "1m30"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

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
