//! Probes of containers that are processes: HTTP, HTTPS and TCP, as the kubelet asks them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

/// How soon a probe that has not passed yet is asked again at first; it takes twice as long each time up to its period.
const EAGER: Duration = Duration::from_millis(50);

/// The number of a probe's port.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| u16::try_from(port.container_port).ok())
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

/// Asks a probe again and again and tells `report` whenever its outcome changes, starting from `passing`.
/// A success counts after `successThreshold`, a failure after `failureThreshold` in a row.
pub(crate) async fn watch(probe: Probe, container: Container, ip: String, passing: bool, report: impl Fn(bool)) {
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let threshold = |value: Option<i32>, default| value.unwrap_or(default).max(1);
    let mut passing = passing;
    let mut ever = false;
    let mut streak = 0;
    let mut eager = EAGER;
    loop {
        let passed = ask(&probe, &container, &ip).await;
        ever |= passed;
        if passed == passing {
            streak = 0;
        } else {
            streak += 1;
            let needed = if passed {
                threshold(probe.success_threshold, 1)
            } else {
                threshold(probe.failure_threshold, 3)
            };
            if streak >= needed {
                passing = passed;
                streak = 0;
                report(passing);
            }
        }
        // Only a container that is not ready yet is asked eagerly: a liveness probe must not fail faster than its period.
        let pause = if ever || passing { period } else { eager.min(period) };
        eager *= 2;
        tokio::time::sleep(pause).await;
    }
}

/// Asks a startup probe until it passes (true) or has failed `failureThreshold` times (false).
pub(crate) async fn start_up(probe: &Probe, container: &Container, ip: &str) -> bool {
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    for _ in 0..probe.failure_threshold.unwrap_or(3).max(1) {
        if ask(probe, container, ip).await {
            return true;
        }
        tokio::time::sleep(seconds(probe.period_seconds, 10).max(Duration::from_secs(1))).await;
    }
    false
}

async fn ask(probe: &Probe, container: &Container, ip: &str) -> bool {
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let asked = async {
        if let Some(http) = &probe.http_get {
            return ask_http(http, container, ip).await;
        }
        if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.as_deref().unwrap_or(ip);
            return connect(host, port(&tcp.port, container)).await.is_some();
        }
        // Commands cannot be run in an image that is not there.
        true
    };
    tokio::time::timeout(timeout, asked).await.unwrap_or(false)
}

async fn connect(host: &str, port: Option<u16>) -> Option<TcpStream> {
    let address = SocketAddr::new(host.parse().ok()?, port?);
    TcpStream::connect(address).await.ok()
}

/// Sends the request of a probe or a hook; whether it was answered with success.
pub(crate) async fn ask_http(probe: &HTTPGetAction, container: &Container, ip: &str) -> bool {
    let host = probe.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ip);
    let port = port(&probe.port, container);
    let Some(stream) = connect(host, port).await else {
        return false;
    };
    let path = probe.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut request = http::Request::get(path).header(http::header::HOST, format!("{host}:{}", port.unwrap_or(0)));
    request = request.header(http::header::USER_AGENT, "kube-probe/1.36");
    for header in probe.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let Ok(request) = request.body(Empty::<bytes::Bytes>::new()) else {
        return false;
    };
    let status = if probe.scheme.as_deref() == Some("HTTPS") {
        let Ok(name) = rustls::pki_types::ServerName::try_from(host.to_owned()) else {
            return false;
        };
        let Ok(stream) = TlsConnector::from(any_certificate()).connect(name, stream).await else {
            return false;
        };
        send(TokioIo::new(stream), request).await
    } else {
        send(TokioIo::new(stream), request).await
    };
    status.is_some_and(|status| (200..400).contains(&status))
}

async fn send<S>(stream: S, request: http::Request<Empty<bytes::Bytes>>) -> Option<u16>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.ok();
    connection.abort();
    answer.map(|answer| answer.status().as_u16())
}

/// The kubelet does not verify the certificates of the containers it probes.
fn any_certificate() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Unverified(provider.clone()));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        });
    // Only impossible combinations of versions and ciphers fail, and these are the provider's own.
    Arc::new(config.unwrap_or_else(|error| unreachable!("default TLS versions are refused: {error}")))
}

#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn readiness_is_told_when_the_port_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let probe: Probe = serde_json::from_value(json!({"tcpSocket": {"port": port}})).unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(
            probe,
            Container::default(),
            "127.0.0.1".into(),
            false,
            move |passing| {
                let _ = tell.send(passing);
            },
        ));
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(10), told.recv())
                .await
                .unwrap(),
            Some(true)
        );
        watching.abort();
    }

    #[tokio::test]
    async fn an_http_error_fails_the_probe() {
        let listener = super::super::web::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = |text: &str| text.to_owned();
        let facts = super::super::web::Facts {
            pod: text("p"),
            namespace: text("d"),
            node: text("n"),
            zone: text("z"),
            region: text("r"),
            cluster: text("c"),
        };
        let stop = tokio_util::sync::CancellationToken::new();
        super::super::web::serve(
            listener,
            Arc::new(facts),
            Arc::new(super::super::logs::Log::in_memory()),
            stop.clone(),
        );
        for (path, expected) in [("/healthz", true), ("/status/500", false), ("/status/302", true)] {
            let probe: Probe = serde_json::from_value(json!({"httpGet": {"port": port, "path": path}})).unwrap();
            assert_eq!(
                ask(&probe, &Container::default(), "127.0.0.1").await,
                expected,
                "{path}"
            );
        }
        stop.cancel();
    }
}
