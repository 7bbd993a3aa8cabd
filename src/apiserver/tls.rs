//! TLS of the listener.

use std::{path::Path, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{Args, pki};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A given file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server's own authority fails.
    #[error("cannot issue certificates")]
    Authority(#[source] pki::Error),
    /// A PEM text holds no certificate or key.
    #[error("cannot read the PEM of the {what}")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key cannot be used.
    #[error("cannot use the {what}")]
    Unusable {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the server needs for TLS, and its administrator to reach it.
pub(crate) struct Tls {
    /// TLS of the listener.
    pub(crate) config: Arc<ServerConfig>,
    /// What clients verify the server with.
    pub(crate) ca_pem: String,
    /// Client certificate of system:masters.
    pub(crate) admin: pki::Identity,
    /// Who issues the certificates of the server's clients: a bundle.
    pub(crate) client_ca_pem: String,
    /// Client certificate that the server shows to kubelets.
    pub(crate) kubelet_client: pki::Identity,
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads the certificates that are given, and makes the others.
///
/// # Errors
/// If files or certificates cannot be read or made.
pub(crate) fn prepare(args: &Args, service_addresses: &[String]) -> Result<Tls, Error> {
    let authority = pki::Authority::open(&args.data_dir.join("pki"), "kubernetes").map_err(Error::Authority)?;
    let admin = authority
        .client("admin", "kubernetes-admin", "system:masters")
        .map_err(Error::Authority)?;
    let kubelet_client = authority
        .client(
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            "system:masters",
        )
        .map_err(Error::Authority)?;
    let (cert, key, ca_pem) = match (&args.tls_cert_file, &args.tls_private_key_file) {
        (Some(cert), Some(key)) => {
            let cert = read(cert)?;
            // Who issued a given certificate is best known from the client CA; else the certificate vouches for itself.
            let ca = match &args.client_ca_file {
                Some(path) => read(path)?,
                None => cert.clone(),
            };
            (cert, read(key)?, ca)
        }
        _ => {
            let names = names(args, service_addresses);
            let identity = authority.serving("apiserver", &names).map_err(Error::Authority)?;
            (identity.cert_pem, identity.key_pem, authority.cert_pem().to_owned())
        }
    };
    let mut client_ca = authority.cert_pem().to_owned();
    if let Some(path) = &args.client_ca_file {
        client_ca.push('\n');
        client_ca.push_str(&read(path)?);
    }
    Ok(Tls {
        config: Arc::new(config(&cert, &key, &client_ca)?),
        ca_pem,
        admin,
        client_ca_pem: client_ca,
        kubelet_client,
    })
}

fn names(args: &Args, service_addresses: &[String]) -> Vec<String> {
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<String> = ["localhost", "127.0.0.1"]
        .into_iter()
        .chain(service)
        .map(str::to_owned)
        .collect();
    let addresses = [Some(args.bind_address), args.advertise_address];
    let addresses = addresses
        .into_iter()
        .flatten()
        .filter(|a| !a.is_unspecified())
        .map(|a| a.to_string());
    for name in addresses
        .chain(args.external_hostname.clone())
        .chain(service_addresses.iter().cloned())
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn config(cert: &str, key: &str, client_ca: &str) -> Result<ServerConfig, Error> {
    let pem = |what| move |source| Error::Pem { what, source };
    let unusable = |what| move |source: Box<dyn std::error::Error + Send + Sync>| Error::Unusable { what, source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(client_ca.as_bytes()) {
        let ca = ca.map_err(pem("client CA"))?;
        roots.add(ca).map_err(|e| unusable("client CA")(e.into()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| unusable("client CA")(e.into()))?;
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(pem("server certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("server key"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable("TLS versions")(e.into()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| unusable("server certificate")(e.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
