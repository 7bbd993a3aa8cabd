//! The kubelet API on every node's address: logs of containers and connections to pods' ports.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
};
use tokio_util::sync::CancellationToken;

use self::access::{Caller, User};
use super::{
    agent::Agent,
    registry::{KUBELET_PORT, Registry},
    web,
};
use crate::informer::Key;

mod access;
mod logs;
mod port_forward;
mod spdy;

const SPDY: &str = "SPDY/3.1";
const PROTOCOLS: &str = "x-stream-protocol-version";

/// Why the kubelet API could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate.
    #[error("cannot make a certificate for the kubelet API")]
    Certificate(#[source] rcgen::Error),
    /// The certificate is not usable.
    #[error("cannot use the certificate of the kubelet API")]
    Tls(#[source] rustls::Error),
    /// The authority of clients is not usable.
    #[error("cannot use the authority of the kubelet API's clients")]
    ClientAuthority(#[source] VerifierBuilderError),
}

/// Serves the API on every node's address, as nodes come and go. Clients show certificates issued by one of
/// `client_ca` (PEM; may be empty), or tokens.
///
/// # Errors
/// No certificate can be made, or `client_ca` is of no use.
pub(crate) fn start(
    agent: &Arc<Agent>,
    registry: &Arc<Registry>,
    client: &kube::Client,
    client_ca: &str,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(client_ca)?));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route(
            "/containerLogs/{namespace}/{pod}/{container}",
            get(logs::container_logs),
        )
        .route("/portForward/{namespace}/{pod}", any(forward_ports))
        .route("/exec/{namespace}/{pod}/{container}", any(run_command))
        .route("/attach/{namespace}/{pod}/{container}", any(run_command))
        .with_state(agent.clone())
        .layer(middleware::from_fn_with_state(client.clone(), access::check));
    let serving: Mutex<HashMap<String, CancellationToken>> = Mutex::default();
    let (nodes, shutdown) = (Arc::downgrade(registry), shutdown.clone());
    registry.on_change(move |name| {
        let Some(nodes) = nodes.upgrade() else { return };
        let mut serving = serving.lock();
        if let Some(stop) = serving.remove(name) {
            stop.cancel();
        }
        let Some(ip) = nodes.address(name) else { return };
        let address = SocketAddr::new(ip.into(), KUBELET_PORT);
        match web::bind(address) {
            Ok(listener) => {
                let stop = shutdown.child_token();
                let server = Server {
                    node: name.into(),
                    acceptor: acceptor.clone(),
                    router: router.clone(),
                    stop: stop.clone(),
                };
                tokio::spawn(server.run(listener));
                serving.insert(name.to_owned(), stop);
            }
            Err(error) => tracing::warn!(%address, %error, "no kubelet API for node {name}"),
        }
    });
    Ok(())
}

fn tls(client_ca: &str) -> Result<rustls::ServerConfig, Error> {
    let certified = rcgen::generate_simple_self_signed(["kubelet".to_owned()]).map_err(Error::Certificate)?;
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(client_ca.as_bytes()).flatten());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(Error::ClientAuthority)?;
        builder.with_client_cert_verifier(verifier)
    };
    builder
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .map_err(Error::Tls)
}

/// The API of one node.
#[derive(Clone)]
struct Server {
    node: Arc<str>,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
}

impl Server {
    async fn run(self, listener: tokio::net::TcpListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            tokio::spawn(self.clone().serve(stream));
        }
    }

    async fn serve(self, stream: TcpStream) {
        let Ok(stream) = self.acceptor.accept(stream).await else {
            return;
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let caller = Caller {
            node: self.node,
            user: certificate.and_then(|certificate| User::of_certificate(certificate)),
        };
        let service = TowerToHyperService::new(self.router.layer(Extension(caller)));
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let _ = self.stop.run_until_cancelled(connection).await;
    }
}

/// A refusal that clients of Kubernetes can read.
fn refusal(code: StatusCode, reason: &str, message: String) -> Response {
    let status = apimachinery::status::Status::failure(code.as_u16(), reason, message);
    (code, Json(status)).into_response()
}

fn not_found(pod: &str) -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "NotFound",
        format!("pod \"{pod}\" is not running here"),
    )
}

fn has(headers: &HeaderMap, name: impl header::AsHeaderName, wanted: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

async fn forward_ports(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Response {
    let key = Key::new(Some(&namespace), &pod);
    let Some((ip, stop)) = agent.reach(&key) else {
        return not_found(&pod);
    };
    if !has(request.headers(), header::UPGRADE, SPDY) {
        // Clients that tried a WebSocket first go on with SPDY after this.
        let message = format!("port-forwarding needs an upgrade to {SPDY}");
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", message);
    }
    if !has(request.headers(), PROTOCOLS, port_forward::PROTOCOL) {
        let message = format!("the only protocol is {}", port_forward::PROTOCOL);
        return refusal(StatusCode::FORBIDDEN, "Forbidden", message);
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let serving = port_forward::serve(TokioIo::new(upgraded), &pod, ip.into());
        if let Some(Err(error)) = stop.run_until_cancelled(serving).await {
            tracing::debug!(pod, %error, "port-forwarding ended");
        }
    });
    let headers = [
        (header::CONNECTION.as_str(), "Upgrade"),
        (header::UPGRADE.as_str(), SPDY),
        (PROTOCOLS, port_forward::PROTOCOL),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn run_command(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
) -> Response {
    if agent.reach(&Key::new(Some(&namespace), &pod)).is_none() {
        return not_found(&pod);
    }
    let message = format!(
        "container \"{container}\" of pod \"{pod}\" has no file system and no shell: this node runs no images, \
         so nothing can be executed in it or attached to; kubectl logs and kubectl port-forward work"
    );
    refusal(StatusCode::BAD_REQUEST, "BadRequest", message)
}
