//! From API objects to what is served: a pure function of the objects, so that order and number of events do not matter.
//!
//! [`build`] never fails: what is wrong with one Ingress is a [`Problem`] of that Ingress, told to its owner by an
//! event and to clients by a 503, and touches nothing else.

pub mod annotations;
mod backend;
mod clusters;
mod ingress;
mod json;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use apimachinery::Object;
use traffic::{geo::Point, route::Routes, waterfall::Overload};

pub(crate) use ingress::explain;
pub use ingress::{build, is_ours};

/// The value of `spec.controller` of IngressClasses that are ours.
pub const CONTROLLER: &str = "federation.kubernetes.io/lb";
/// The class an Ingress may name without an IngressClass object existing.
pub const CLASS: &str = "federation";

/// Everything that is watched, by `namespace/name`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Objects {
    /// Ingresses.
    pub ingresses: BTreeMap<String, Arc<Object>>,
    /// IngressClasses.
    pub classes: BTreeMap<String, Arc<Object>>,
    /// Services.
    pub services: BTreeMap<String, Arc<Object>>,
    /// EndpointSlices.
    pub slices: BTreeMap<String, Arc<Object>>,
    /// Clusters.
    pub clusters: BTreeMap<String, Arc<Object>>,
    /// Secrets of type `kubernetes.io/tls`.
    pub secrets: BTreeMap<String, Arc<Object>>,
}

/// What is served.
#[derive(Debug, Default)]
pub struct Config {
    /// Host and path to an index into `targets`.
    pub routes: Routes<usize>,
    /// What routes lead to.
    pub targets: Vec<Target>,
    /// Service ports.
    pub backends: Vec<Backend>,
    /// Member clusters, by name.
    pub clusters: Vec<Cluster>,
    /// Certificates for server names.
    pub certificates: Vec<Certificate>,
    /// The Ingresses that are ours.
    pub ingresses: Vec<OwnIngress>,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `namespace/name` of the Ingress.
    pub ingress: Arc<str>,
    /// Index of the backend.
    pub backend: usize,
    /// Plain HTTP is redirected to HTTPS.
    pub ssl_redirect: bool,
}

/// Why a backend cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The Service does not exist.
    ServiceNotFound,
    /// The Service has no such port.
    PortNotFound,
    /// The Ingress names something that is no Service.
    NotAService,
}

impl Problem {
    /// The event's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ServiceNotFound => "ServiceNotFound",
            Self::PortNotFound => "ServicePortNotFound",
            Self::NotAService => "UnsupportedBackend",
        }
    }
}

/// How endpoints are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 in TLS; certificates are not verified, as endpoints' certificates carry no name we know.
    Https,
    /// HTTP/2 with prior knowledge, as gRPC servers speak it.
    H2c,
}

/// What keeps a client with its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Affinity {
    /// Nothing.
    #[default]
    None,
    /// A hash of the client's address.
    ClientIp,
    /// A signed cookie.
    Cookie,
}

/// Settings of a backend, out of annotations of its Service and Ingress.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Protocol of the endpoints.
    pub protocol: Protocol,
    /// Session affinity.
    pub affinity: Affinity,
    /// Requests per second one endpoint can take.
    pub max_rps_per_endpoint: Option<f64>,
    /// What happens when all clusters are full.
    pub overload: Overload,
    /// Path of active health checks; `None`: any answer but 502, 503 and 504 to `/` counts.
    pub health_check_path: Option<String>,
    /// How long an endpoint may take to begin its answer, if not the default.
    pub response_timeout: Option<Duration>,
    /// How long connecting may take, if not the default.
    pub connect_timeout: Option<Duration>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// `namespace/service:port`, with the settings' fingerprint where an Ingress changes them.
    pub key: Arc<str>,
    /// `namespace/service`.
    pub service: Arc<str>,
    /// Why it cannot be served, if it cannot.
    pub problem: Option<Problem>,
    /// How it is served.
    pub settings: Settings,
    /// Where it is served, by cluster; at most one entry per cluster.
    pub members: Vec<Member>,
}

/// A backend in one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Index of the cluster.
    pub cluster: usize,
    /// Addresses.
    pub endpoints: Vec<Endpoint>,
    /// Pods that are ready behind the addresses.
    pub ready: f64,
    /// Pods behind the addresses.
    pub total: f64,
}

/// An address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IP address or DNS name.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A member cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is, if known.
    pub point: Option<Point>,
    /// The operator's factor on its capacity.
    pub scaler: f64,
    /// It is being removed or was told to drain.
    pub draining: bool,
    /// The federation cannot reach it: its endpoints must prove that they work.
    pub offline: bool,
}

/// A certificate for server names.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// Server names, exact or `*.…`; none means those in the certificate.
    pub hosts: Vec<String>,
    /// PEM of the chain.
    pub chain: Vec<u8>,
    /// PEM of the private key.
    pub key: Vec<u8>,
}

/// An Ingress that is ours.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnIngress {
    /// `namespace/name`.
    pub key: Arc<str>,
    /// Its uid, for events.
    pub uid: String,
    /// `status.loadBalancer.ingress` as it is.
    pub status: Object,
    /// What is wrong with it: reason and message.
    pub problems: Vec<(&'static str, String)>,
}

#[cfg(test)]
mod tests;
