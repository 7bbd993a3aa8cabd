//! TLS of the connections that the server opens: to kubelets, and to pods that it proxies to.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme, WantsVerifier,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::TlsConnector;

use crate::{pki, tls::Error};

/// TLS without a look at the other's certificate: kubelets sign their own, as with kube-apiserver's default.
pub struct OutgoingTls {
    /// To kubelets: they are shown a certificate of ours.
    pub kubelet: TlsConnector,
    /// To whoever else.
    pub anybody: TlsConnector,
}

impl std::fmt::Debug for OutgoingTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingTls").finish_non_exhaustive()
    }
}

impl OutgoingTls {
    /// With the certificate that kubelets are shown.
    ///
    /// # Errors
    /// The certificate or its key is of no use.
    pub(crate) fn new(identity: &pki::Identity) -> Result<Self, Error> {
        let pem = |what| move |source| Error::Pem { what, source };
        let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(pem("kubelet client certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(pem("kubelet client key"))?;
        let kubelet = builder()?.with_client_auth_cert(chain, key).map_err(unusable)?;
        Ok(Self {
            kubelet: Arc::new(kubelet).into(),
            anybody: Arc::new(builder()?.with_no_client_auth()).into(),
        })
    }
}

fn unusable(source: rustls::Error) -> Error {
    Error::Unusable {
        what: "kubelet client certificate",
        source: source.into(),
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider))))
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
