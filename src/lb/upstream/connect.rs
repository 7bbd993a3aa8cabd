//! Opening connections to endpoints.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{RequestBody, stream::Stream};
use crate::{
    model::Protocol,
    runtime::{Endpoint, endpoint::Address},
};

/// A silent endpoint is asked by the kernel whether it lives after this long, and again after each
/// [`KEEPALIVE_INTERVAL`]: a connection to a machine that vanished does not hang for hours.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// An endpoint cannot be connected to. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name has no address.
    #[error("cannot resolve {name}")]
    Resolve {
        /// The name.
        name: Arc<str>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The connection was refused or failed.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("connecting to {endpoint} took longer than {} ms", limit.as_millis())]
    TimedOut {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The limit.
        limit: Duration,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with {endpoint} failed")]
    Tls {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The HTTP/2 handshake failed.
    #[error("the HTTP/2 handshake with {endpoint} failed")]
    Http2 {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
}

impl Error {
    /// Whether nobody was heard: neither a refusal nor anything else came back.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Resolve { .. } => true,
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            ),
            Self::Tls { .. } | Self::Http2 { .. } => false,
        }
    }
}

/// Opens connections.
#[derive(Clone)]
pub struct Connector {
    tls: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector whose TLS accepts any certificate: endpoints are addressed by IP, their certificates name pods at best.
    ///
    /// # Errors
    /// When the TLS library refuses the settings.
    pub fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config) })
    }

    /// A stream to an endpoint.
    ///
    /// # Errors
    /// When it cannot be had within `limit`.
    pub async fn stream(&self, endpoint: &Endpoint, limit: Duration) -> Result<Stream, Error> {
        let timed_out = || Error::TimedOut {
            endpoint: Arc::clone(&endpoint.shown),
            limit,
        };
        tokio::time::timeout(limit, self.open(endpoint))
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Stream, Error> {
        let tcp = connect(&endpoint.identity.address).await?;
        // Neither option is worth failing for.
        let _ = tcp.set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE_INTERVAL);
        let _ = SockRef::from(&tcp).set_tcp_keepalive(&keepalive);
        if endpoint.identity.protocol != Protocol::Https {
            return Ok(Stream::Tcp(tcp));
        }
        let failed = |source| Error::Tls {
            endpoint: Arc::clone(&endpoint.shown),
            source,
        };
        let name = match &endpoint.identity.address {
            Address::Socket(address) => ServerName::IpAddress(address.ip().into()),
            Address::Name(name, _) => {
                ServerName::try_from(name.to_string()).map_err(|error| failed(io::Error::other(error)))?
            }
        };
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
            .map_err(failed)?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// A shared HTTP/2 connection to an endpoint.
    ///
    /// # Errors
    /// When it cannot be had within `limit`.
    pub async fn http2(&self, endpoint: &Endpoint, limit: Duration) -> Result<http2::SendRequest<RequestBody>, Error> {
        let stream = self.stream(endpoint, limit).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_INTERVAL)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Http2 {
                endpoint: Arc::clone(&endpoint.shown),
                source,
            })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            }
        });
        Ok(sender)
    }
}

async fn connect(address: &Address) -> Result<TcpStream, Error> {
    let addresses: Vec<SocketAddr> = match address {
        Address::Socket(address) => vec![*address],
        Address::Name(name, port) => {
            let failed = |source| Error::Resolve {
                name: Arc::clone(name),
                source,
            };
            tokio::net::lookup_host((&**name, *port))
                .await
                .map_err(failed)?
                .collect()
        }
    };
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(Error::Connect { address, source }),
        }
    }
    Err(last.unwrap_or_else(|| Error::Resolve {
        name: address.to_string().into(),
        source: io::ErrorKind::NotFound.into(),
    }))
}

/// Accepts any certificate; signatures are checked, so that the peer at least has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
