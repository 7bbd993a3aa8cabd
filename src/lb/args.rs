//! Flags of `federation lb`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use apimachinery::Object;
use clap::builder::TypedValueParser as _;
use http::HeaderName;
use ipnet::IpNet;
use serde_json::json;
use traffic::{control::Tuning, geo::Point};

use crate::{access_log, geo, health, model::annotations, serve::Settings};

/// Serves every Ingress of the federation: each client by the nearest cluster that has room.
///
/// Clients are located by their address: the client map first, then a geo header of a trusted proxy, the geo database,
/// the middle of their country or continent, and at last the load balancer's own place. Clusters are located by
/// `spec.location`, or by their region's name. When a cluster is unhealthy or full, what it cannot serve goes to the next
/// nearest one.
///
/// Any number of these processes may run; they keep no state. When the federation API is away they serve what they know.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The kubeconfig of the federation API
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Serve the objects of this file (JSON, as saved in --data-dir) instead of the federation API's
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    pub config_file: Option<PathBuf>,
    /// Addresses for HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "0.0.0.0:80")]
    pub http_bind_address: Vec<SocketAddr>,
    /// Addresses for HTTPS; the certificates are those of the Ingresses' TLS secrets, else a self-signed one
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub https_bind_address: Vec<SocketAddr>,
    /// Address for /metrics, /healthz, /livez and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10254", value_parser = telemetry::socket_address)]
    pub metrics_bind_address: SocketAddr,
    /// Where clients reach this load balancer, HOST or HOST:PORT; the status of Ingresses lists those of all load balancers
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub publish_status_address: Vec<String>,
    /// Directory for the last known configuration, served when a start finds no federation API
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Threads that serve [default: one per CPU]
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<usize>,

    /// A MaxMind DB file that locates clients; reloaded when it changes
    #[arg(long, value_name = "FILE", help_heading = "Locating clients")]
    pub geoip_database: Option<PathBuf>,
    /// A file of lines `NETWORK LATITUDE,LONGITUDE[;COUNTRY]` or `NETWORK CLUSTER[,CLUSTER]`, which wins over everything
    #[arg(long, value_name = "FILE", help_heading = "Locating clients")]
    pub client_map: Option<PathBuf>,
    /// Locate the networks of a local federation's clients: 127.1/16 Iowa, 127.2/16 Belgium, 127.3/16 Tokyo, 127.4/16 Sydney, 127.5/16 São Paulo
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", help_heading = "Locating clients")]
    pub local_client_networks: bool,
    /// Where this load balancer is: LATITUDE,LONGITUDE or a cloud region; for clients that cannot be located
    #[arg(long, value_name = "PLACE", value_parser = parse_place, help_heading = "Locating clients")]
    pub location: Option<Point>,
    /// Header in which trusted proxies say where a client is: `LATITUDE,LONGITUDE`, a country code, or both with a semicolon
    #[arg(long, value_name = "NAME", help_heading = "Locating clients")]
    pub geo_header: Option<HeaderName>,
    /// Networks of proxies whose X-Forwarded-* and geo headers are believed
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network(), help_heading = "Locating clients")]
    pub trusted_proxies: Vec<IpNet>,
    /// Networks whose connections begin with a PROXY protocol header, version 1 or 2
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network(), help_heading = "Locating clients")]
    pub proxy_protocol_from: Vec<IpNet>,

    /// Time for connecting to an endpoint
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration(), help_heading = "Limits")]
    pub connect_timeout: Duration,
    /// Time until an endpoint's response begins
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration(), help_heading = "Limits")]
    pub response_timeout: Duration,
    /// Time for receiving a request's head
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration(), help_heading = "Limits")]
    pub header_timeout: Duration,
    /// Time a client's connection may be idle
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = duration(), help_heading = "Limits")]
    pub idle_timeout: Duration,
    /// Bytes per second below which a request's body over HTTP/1.1 is given up; 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = 100, help_heading = "Limits")]
    pub min_body_rate: u64,
    /// Bytes a request's head may have
    #[arg(long, value_name = "BYTES", default_value_t = 65536, help_heading = "Limits")]
    pub max_header_bytes: usize,
    /// Time for requests in flight when the process stops
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration(), help_heading = "Limits")]
    pub drain_timeout: Duration,

    /// Time between active health checks of an endpoint that answers no requests
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration(), help_heading = "Health and balance")]
    pub health_check_interval: Duration,
    /// Time for one active health check
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration(), help_heading = "Health and balance")]
    pub health_check_timeout: Duration,
    /// Time in which a cluster that was away gets back its whole traffic
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration(), help_heading = "Health and balance")]
    pub return_ramp: Duration,
    /// File with the key that signs affinity cookies, the same for all load balancers [default: a random key]
    #[arg(long, value_name = "FILE", help_heading = "Health and balance")]
    pub affinity_key_file: Option<PathBuf>,

    /// Where the access log goes: `-` is standard output, `off` nowhere, else a file
    #[arg(long, value_name = "TARGET", default_value = "-")]
    pub access_log: access_log::Target,
}

fn duration() -> impl clap::builder::TypedValueParser<Value = Duration> {
    clap::builder::StringValueParser::new()
        .try_map(|text| annotations::duration(&text).ok_or("expected a duration such as 500ms, 10s or 1m30s"))
}

fn network() -> impl clap::builder::TypedValueParser<Value = IpNet> {
    clap::builder::StringValueParser::new()
        .try_map(|text| geo::parse_network(&text).ok_or("expected a network such as 10.0.0.0/8"))
}

fn parse_place(text: &str) -> Result<Point, &'static str> {
    let coordinates = || match traffic::locate::parse_geo_header(text) {
        Some((Some(point), None)) => Some(point),
        _ => None,
    };
    traffic::places::region(text)
        .or_else(coordinates)
        .ok_or("expected LATITUDE,LONGITUDE or the name of a cloud region")
}

impl Args {
    /// Limits and times of serving.
    pub fn settings(&self) -> Settings {
        Settings {
            trusted_proxies: self.trusted_proxies.clone(),
            proxy_protocol_from: self.proxy_protocol_from.clone(),
            geo_header: self.geo_header.clone(),
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            least_body_rate: self.min_body_rate,
            longest_head: self.max_header_bytes,
            drain_timeout: self.drain_timeout,
            tuning: Tuning {
                ramp: self.return_ramp,
                ..Tuning::default()
            },
            ..Settings::default()
        }
    }

    /// Times of health checks.
    pub fn health(&self) -> health::Times {
        health::Times {
            interval: self.health_check_interval,
            timeout: self.health_check_timeout,
        }
    }

    /// The published addresses as entries of `status.loadBalancer.ingress`.
    pub fn status_addresses(&self) -> Vec<Object> {
        self.publish_status_address
            .iter()
            .map(|address| status_address(address))
            .collect()
    }
}

fn status_address(address: &str) -> Object {
    let (host, port) = match address.parse::<SocketAddr>() {
        Ok(socket) => (socket.ip().to_string(), Some(socket.port())),
        Err(_) => match address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) if !host.contains(':') => (host.to_owned(), Some(port)),
            _ => (address.to_owned(), None),
        },
    };
    let key = if host.parse::<std::net::IpAddr>().is_ok() {
        "ip"
    } else {
        "hostname"
    };
    let mut entry = json!({key: host});
    if let Some(port) = port {
        entry["ports"] = json!([{"port": port, "protocol": "TCP"}]);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from([&["lb"], flags].concat()).map(|cli| cli.args)
    }

    #[test]
    fn published_addresses_become_status_entries() {
        let args = parse(&[
            "--publish-status-address=127.0.0.1:8080",
            "--publish-status-address=lb.example,::1,lb.example:81",
        ])
        .expect("valid");
        assert_eq!(
            Object::Array(args.status_addresses()),
            json!([
                {"ip": "127.0.0.1", "ports": [{"port": 8080, "protocol": "TCP"}]},
                {"hostname": "lb.example"},
                {"ip": "::1"},
                {"hostname": "lb.example", "ports": [{"port": 81, "protocol": "TCP"}]},
            ])
        );
    }

    #[test]
    fn flags_take_go_durations_networks_and_places() {
        let args = parse(&[
            "--connect-timeout=1m30s",
            "--trusted-proxies=10.0.0.0/8,192.0.2.1",
            "--location=europe-west1",
            "--geo-header=X-Geo",
        ])
        .expect("valid");
        assert_eq!(args.connect_timeout, Duration::from_secs(90));
        assert_eq!(args.trusted_proxies.len(), 2);
        assert_eq!(args.location, Some(Point::new(50.47, 3.82)));
        assert_eq!(
            parse(&["--location=1.5,2"]).expect("valid").location,
            Some(Point::new(1.5, 2.0))
        );
        for wrong in [
            "--connect-timeout=10",
            "--trusted-proxies=10/8",
            "--location=moon",
            "--http-bind-address=80",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_switch_may_be_given_with_or_without_a_value() {
        assert!(parse(&[]).expect("valid").local_client_networks);
        assert!(
            !parse(&["--local-client-networks=false"])
                .expect("valid")
                .local_client_networks
        );
        assert!(
            parse(&["--local-client-networks"])
                .expect("valid")
                .local_client_networks
        );
    }
}
