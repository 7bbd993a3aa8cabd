//! A server's own certificate authority: made on first use, kept in a directory, renewed in time.
//!
//! Keys are ECDSA P-256 and readable by the owner only. Certificates are issued again when they near
//! their end, when the names they must hold change, or when the authority was replaced; so starting
//! the server is all the upkeep there is. It does not revoke.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

const DAY: u64 = 24 * 60 * 60;
/// As kubeadm's authorities.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY);
/// As kubeadm's leaf certificates.
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY);
/// A certificate with less time left than this is issued again.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY);
/// Certificates start this much in the past, for clients whose clocks are late.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// Why a key or a certificate cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no usable key or certificate.
    #[error("cannot use the key or certificate in {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A name cannot be put into a certificate.
    #[error("cannot put the name {name:?} into a certificate")]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate or key cannot be made.
    #[error("cannot make {what}")]
    Issue {
        /// What was to be made.
        what: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate with its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    /// Leaves out the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// What a leaf certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose<'a> {
    Serving { names: &'a [String] },
    Client { group: &'a str },
}

/// A certificate authority in a directory.
pub struct Authority {
    directory: PathBuf,
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority in `directory` (`ca.crt`, `ca.key`), making both if they are missing or near their end.
    ///
    /// # Errors
    /// If files cannot be read or written, or hold no certificate authority.
    pub fn open(directory: &Path, common_name: &str) -> Result<Self, Error> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(|source| Error::Write {
            path: directory.to_owned(),
            source,
        })?;
        let (cert_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        let identity = match read_identity(&cert_path, &key_path)? {
            Some(identity) if still_good(&identity.cert_pem, SystemTime::now()) => identity,
            _ => {
                let identity = make_authority(common_name)?;
                write_identity(&cert_path, &key_path, &identity)?;
                identity
            }
        };
        let key = parse_key(&key_path, &identity.key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&identity.cert_pem, key).map_err(|source| Error::Parse {
            path: cert_path,
            source,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            cert_pem: identity.cert_pem,
            issuer,
        })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The serving certificate `NAME.crt`, `NAME.key` for these DNS names and IP addresses.
    ///
    /// # Errors
    /// If it cannot be read, made or written.
    pub fn serving(&self, name: &str, names: &[String]) -> Result<Identity, Error> {
        self.kept(name, name, &Purpose::Serving { names })
    }

    /// The client certificate `NAME.crt`, `NAME.key` of a user in one group.
    ///
    /// # Errors
    /// If it cannot be read, made or written.
    pub fn client(&self, name: &str, user: &str, group: &str) -> Result<Identity, Error> {
        self.kept(name, user, &Purpose::Client { group })
    }

    /// A client certificate that is not kept.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn issue_client(&self, user: &str, group: &str) -> Result<Identity, Error> {
        self.issue(user, &Purpose::Client { group })
    }

    fn kept(&self, name: &str, common_name: &str, purpose: &Purpose<'_>) -> Result<Identity, Error> {
        let cert_path = self.directory.join(format!("{name}.crt"));
        let key_path = self.directory.join(format!("{name}.key"));
        if let Some(identity) = read_identity(&cert_path, &key_path)?
            && still_good(&identity.cert_pem, SystemTime::now())
            && self.is_for(&identity.cert_pem, common_name, purpose)
            && parse_key(&key_path, &identity.key_pem).is_ok()
        {
            return Ok(identity);
        }
        let identity = self.issue(common_name, purpose)?;
        write_identity(&cert_path, &key_path, &identity)?;
        Ok(identity)
    }

    fn issue(&self, common_name: &str, purpose: &Purpose<'_>) -> Result<Identity, Error> {
        let failed = |source| Error::Issue {
            what: format!("a certificate for {common_name}"),
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        match purpose {
            Purpose::Serving { names } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
            }
            Purpose::Client { group } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                params.distinguished_name.push(DnType::OrganizationName, *group);
            }
        }
        lives(&mut params, LEAF_LIFETIME);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Identity {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Whether a certificate is this authority's and holds exactly these names.
    fn is_for(&self, cert_pem: &str, common_name: &str, purpose: &Purpose<'_>) -> bool {
        let same_issuer = with_cert(&self.cert_pem, |authority| key_identifiers(authority).0)
            .zip(with_cert(cert_pem, |leaf| key_identifiers(leaf).1))
            .is_some_and(|(subject, authority)| subject.is_some() && subject == authority);
        let same_names = with_cert(cert_pem, |leaf| match purpose {
            Purpose::Serving { names } => {
                let mut wanted: Vec<_> = names.to_vec();
                let mut found = alternative_names(leaf);
                wanted.sort_unstable();
                found.sort_unstable();
                wanted == found
            }
            Purpose::Client { group } => {
                let subject = leaf.subject();
                let found: Vec<_> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
                let user = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
                user == Some(common_name) && found == [*group]
            }
        });
        same_issuer && same_names == Some(true)
    }
}

/// The key that signs ServiceAccount tokens, PEM (PKCS#8), made on first use.
///
/// # Errors
/// If it cannot be read, made or written.
pub fn service_account_key(path: &Path) -> Result<String, Error> {
    if let Some(pem) = read_if_there(path)? {
        parse_key(path, &pem)?;
        return Ok(pem);
    }
    let key = KeyPair::generate().map_err(|source| Error::Issue {
        what: "a signing key".into(),
        source,
    })?;
    let pem = key.serialize_pem();
    write_private(path, pem.as_bytes())?;
    Ok(pem)
}

/// The public half of a private key, PEM.
///
/// # Errors
/// If `private_pem`, which was read from `path`, is no private key.
pub fn public_key_pem(path: &Path, private_pem: &str) -> Result<String, Error> {
    Ok(parse_key(path, private_pem)?.public_key_pem())
}

/// Writes a file that only the owner may read, so that readers see the old or the new content and nothing between.
///
/// # Errors
/// If it cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    write_with_mode(path, content, 0o600)
}

fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let write = || {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        io::Write::write_all(&mut file, content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn make_authority(common_name: &str) -> Result<Identity, Error> {
    let failed = |source| Error::Issue {
        what: format!("the certificate authority {common_name}"),
        source,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    lives(&mut params, AUTHORITY_LIFETIME);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Identity {
        cert_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn lives(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + lifetime).into();
}

fn san(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.try_into().map_err(|source| Error::Name {
        name: name.to_owned(),
        source,
    })?;
    Ok(SanType::DnsName(dns))
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read_identity(cert_path: &Path, key_path: &Path) -> Result<Option<Identity>, Error> {
    let pair = read_if_there(cert_path)?.zip(read_if_there(key_path)?);
    Ok(pair.map(|(cert_pem, key_pem)| Identity { cert_pem, key_pem }))
}

/// The key first: a crash between the two leaves a pair that does not match only until the next start reissues it.
fn write_identity(cert_path: &Path, key_path: &Path, identity: &Identity) -> Result<(), Error> {
    let _ = fs::remove_file(cert_path);
    write_private(key_path, identity.key_pem.as_bytes())?;
    write_with_mode(cert_path, identity.cert_pem.as_bytes(), 0o644)
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, Error> {
    KeyPair::from_pem(pem).map_err(|source| Error::Parse {
        path: path.to_owned(),
        source,
    })
}

/// Runs `read` on the first certificate of a PEM text; `None` if there is none.
fn with_cert<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(read(&certificate))
}

fn still_good(cert_pem: &str, now: SystemTime) -> bool {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let renew_at = i64::try_from(seconds(now + RENEW_BEFORE)).unwrap_or(i64::MAX);
    with_cert(cert_pem, |certificate| {
        certificate.validity().not_after.timestamp() > renew_at
    })
    .unwrap_or(false)
}

/// Subject and authority key identifiers.
fn key_identifiers(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    use x509_parser::extensions::ParsedExtension as Parsed;
    let (mut subject, mut authority) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            Parsed::SubjectKeyIdentifier(id) => subject = Some(id.0.to_vec()),
            Parsed::AuthorityKeyIdentifier(id) => authority = id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => {}
        }
    }
    (subject, authority)
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|octets| IpAddr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|octets| IpAddr::from(octets).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
