//! Annotations that steer the load balancer. Unless said otherwise they go on the Service; an Ingress overrides its Services.
//!
//! Where Kubernetes has a field of its own, it is understood too, and an annotation overrides it: a port's `appProtocol`
//! and the Service's `sessionAffinity: ClientIP`.

use std::time::Duration;

use apimachinery::Object;
use traffic::waterfall::Overload;

use super::{Affinity, Protocol, Settings, json};

/// Requests per second that one endpoint can take: makes the service's capacity known.
pub const MAX_RPS_PER_ENDPOINT: &str = "federation.kubernetes.io/max-rps-per-endpoint";
/// `spread` (default): overfill all clusters alike; `shed`: answer 503 with Retry-After to what fits nowhere.
pub const OVERLOAD: &str = "federation.kubernetes.io/overload";
/// `none` (default), `client-ip` or `cookie`.
pub const SESSION_AFFINITY: &str = "federation.kubernetes.io/session-affinity";
/// `HTTP` (default), `HTTPS`, `H2C` or `GRPC`.
pub const BACKEND_PROTOCOL: &str = "federation.kubernetes.io/backend-protocol";
/// Path of active health checks, to which an endpoint must answer below 400.
pub const HEALTH_CHECK_PATH: &str = "federation.kubernetes.io/health-check-path";
/// How long an endpoint may take until its answer begins, as `30s`.
pub const RESPONSE_TIMEOUT: &str = "federation.kubernetes.io/response-timeout";
/// How long connecting to an endpoint may take, as `500ms`.
pub const CONNECT_TIMEOUT: &str = "federation.kubernetes.io/connect-timeout";
/// On an Ingress: `true` redirects plain HTTP to HTTPS (308).
pub const SSL_REDIRECT: &str = "federation.kubernetes.io/ssl-redirect";
/// On a Cluster: factor on its capacity, 0 takes it out of traffic.
pub const TRAFFIC_SCALER: &str = "federation.kubernetes.io/traffic-scaler";
/// On an EndpointSlice: `{"ready":n,"total":m}`, pods behind the service in that cluster.
pub const ENDPOINTS: &str = "federation.kubernetes.io/endpoints";
/// On an EndpointSlice: `{"<service port>": <reachable port>}`.
pub const SERVICE_PORTS: &str = "federation.kubernetes.io/service-ports";
/// The old way to name an Ingress' class.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// On an IngressClass: Ingresses without a class are its.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Reads the settings of a backend; `port` is that of the Service. `wrong` hears of values that make no sense; the default
/// is used instead.
pub(super) fn settings(
    ingress: &Object,
    service: Option<&Object>,
    port: Option<&Object>,
    mut wrong: impl FnMut(String),
) -> Settings {
    let mut settings = Settings::default();
    if let Some(named) = port.and_then(|port| json::text(port, "/appProtocol")) {
        settings.protocol = app_protocol(named);
    }
    if service.and_then(|service| json::text(service, "/spec/sessionAffinity")) == Some("ClientIP") {
        settings.affinity = Affinity::ClientIp;
    }
    let mut read = |key: &'static str, apply: &mut dyn FnMut(&str) -> Option<()>| {
        let value = json::annotation(ingress, key).or_else(|| json::annotation(service?, key));
        if let Some(value) = value
            && apply(value).is_none()
        {
            wrong(format!("annotation {key} has the invalid value {value:?}"));
        }
    };
    read(BACKEND_PROTOCOL, &mut |value| {
        settings.protocol = match value.to_ascii_uppercase().as_str() {
            "HTTP" => Protocol::Http,
            "HTTPS" => Protocol::Https,
            "H2C" | "GRPC" => Protocol::H2c,
            _ => return None,
        };
        Some(())
    });
    read(SESSION_AFFINITY, &mut |value| {
        settings.affinity = match value.to_ascii_lowercase().as_str() {
            "none" => Affinity::None,
            "client-ip" | "clientip" => Affinity::ClientIp,
            "cookie" => Affinity::Cookie,
            _ => return None,
        };
        Some(())
    });
    read(MAX_RPS_PER_ENDPOINT, &mut |value| {
        let rate: f64 = value.parse().ok()?;
        (rate.is_finite() && rate > 0.0).then(|| settings.max_rps_per_endpoint = Some(rate))
    });
    read(OVERLOAD, &mut |value| {
        settings.overload = match value {
            "spread" => Overload::Spread,
            "shed" => Overload::Shed,
            _ => return None,
        };
        Some(())
    });
    read(HEALTH_CHECK_PATH, &mut |value| {
        let valid = value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| settings.health_check_path = Some(value.to_owned()))
    });
    read(RESPONSE_TIMEOUT, &mut |value| {
        let _: () = settings.response_timeout = Some(duration(value)?);
        Some(())
    });
    read(CONNECT_TIMEOUT, &mut |value| {
        let _: () = settings.connect_timeout = Some(duration(value)?);
        Some(())
    });
    settings
}

/// What a port's `appProtocol` means: the names of Kubernetes (KEP-3726), IANA's, and those that service meshes use.
/// Protocols that are none of HTTP are spoken to as the default.
fn app_protocol(name: &str) -> Protocol {
    match name.to_ascii_lowercase().as_str() {
        "kubernetes.io/h2c" | "h2c" | "http2" | "grpc" => Protocol::H2c,
        "kubernetes.io/wss" | "https" => Protocol::Https,
        _ => Protocol::Http,
    }
}

/// A positive Go duration, as `1m30s`.
pub fn duration(text: &str) -> Option<Duration> {
    // A century is longer than any timeout that is meant.
    let meant = Duration::from_nanos(1)..Duration::from_secs(3_200_000_000);
    apimachinery::duration::parse(text)
        .ok()
        .filter(|given| meant.contains(given))
}
