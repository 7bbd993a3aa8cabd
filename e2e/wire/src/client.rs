//! A plain HTTP client for one server.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// No request of a case takes longer; watches end by themselves.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Sends requests to a server.
#[derive(Debug, Clone)]
pub struct Client {
    server: String,
    token: String,
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client of `server` (`https://host:port`) that trusts the certificates in `ca` and, where a
    /// request has no credentials of its own, sends `token`.
    ///
    /// # Errors
    /// If `ca` has no certificate.
    pub fn new(server: &str, ca: &str, token: &str) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            http,
        })
    }

    /// Sends a request and reads the whole answer. A header `Authorization: none` sends none.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn send(&self, method: &str, target: &str, headers: &[(String, String)], body: Bytes) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.server))
            .header("User-Agent", "wire/1");
        let authorized = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        if !authorized {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers.iter().filter(|(_, value)| value != "none") {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let (parts, body) = self.http.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, anyhow::Error>(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .context("no answer in time")?
            .with_context(|| format!("{method} {target}"))
    }
}
