//! Certificates by server name, replaced while connections are accepted.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::model::Certificate;

/// Why a certificate is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain is no PEM, or empty.
    #[error("secret {secret}: tls.crt is not a PEM certificate chain")]
    Chain {
        /// The Secret.
        secret: String,
        /// The cause; none if the chain is empty.
        #[source]
        source: Option<rustls_pki_types::pem::Error>,
    },
    /// The key is no PEM private key.
    #[error("secret {secret}: tls.key is not a PEM private key")]
    Key {
        /// The Secret.
        secret: String,
        /// The cause.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The key is of an unknown kind, or not the certificate's.
    #[error("secret {secret}: the private key does not fit the certificate")]
    Pair {
        /// The Secret.
        secret: String,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The fallback certificate cannot be made.
    #[error("cannot make the self-signed certificate")]
    SelfSigned {
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refuses our settings.
    #[error("cannot set up TLS")]
    Setup {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
}

/// Name in the self-signed certificate that is shown when no other fits.
const FALLBACK_NAME: &str = "kubefed-default.invalid";

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

/// Chooses certificates by server name: exact, then wildcard, then the fallback.
#[derive(Debug)]
pub struct Certificates {
    table: ArcSwap<Table>,
    fallback: Arc<CertifiedKey>,
}

impl Certificates {
    /// Only the self-signed fallback.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed(vec![FALLBACK_NAME.to_owned()])
            .map_err(|source| Error::SelfSigned { source })?;
        let fallback = Certificate {
            secret: "<self-signed>".to_owned(),
            hosts: Vec::new(),
            chain: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
        };
        Ok(Self {
            table: ArcSwap::default(),
            fallback: certified(&fallback)?,
        })
    }

    /// Replaces all certificates. Those that cannot be used are left out and returned as errors; the first one for a
    /// name stays.
    pub fn replace(&self, certificates: &[Certificate]) -> Vec<Error> {
        let (mut table, mut errors) = (Table::default(), Vec::new());
        for certificate in certificates {
            match certified(certificate) {
                Ok(key) => {
                    let names = if certificate.hosts.is_empty() {
                        names(&key)
                    } else {
                        certificate.hosts.clone()
                    };
                    for name in names {
                        match name.strip_prefix("*.") {
                            Some(suffix) => table
                                .wildcard
                                .entry(suffix.to_owned())
                                .or_insert_with(|| Arc::clone(&key)),
                            None => table.exact.entry(name).or_insert_with(|| Arc::clone(&key)),
                        };
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        self.table.store(Arc::new(table));
        errors
    }

    fn find(&self, name: &str) -> Arc<CertifiedKey> {
        let table = self.table.load();
        let name = name.to_ascii_lowercase();
        let found = table
            .exact
            .get(&name)
            .or_else(|| table.wildcard.get(name.split_once('.')?.1));
        Arc::clone(found.unwrap_or(&self.fallback))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            hello
                .server_name()
                .map_or_else(|| Arc::clone(&self.fallback), |name| self.find(name)),
        )
    }
}

fn certified(certificate: &Certificate) -> Result<Arc<CertifiedKey>, Error> {
    let secret = || certificate.secret.clone();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate.chain)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Chain {
            secret: secret(),
            source: Some(source),
        })?;
    if chain.is_empty() {
        return Err(Error::Chain {
            secret: secret(),
            source: None,
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&certificate.key).map_err(|source| Error::Key {
        secret: secret(),
        source,
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|source| Error::Pair {
        secret: secret(),
        source,
    })?;
    Ok(Arc::new(certified))
}

/// DNS names in a certificate.
fn names(key: &CertifiedKey) -> Vec<String> {
    let Some(first) = key.cert.first() else {
        return Vec::new();
    };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(first) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = extension.value.general_names.iter().filter_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// The server's TLS settings: TLS 1.2 and 1.3, h2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// When the TLS library refuses them.
pub fn server_config(certificates: Arc<Certificates>) -> Result<Arc<rustls::ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Setup { source })?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
