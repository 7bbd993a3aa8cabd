//! The federation's certificates: one authority, a serving certificate for the API server, a client certificate for
//! each of its users.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// The authority lasts ten years, as kubeadm's.
const AUTHORITY_DAYS: u32 = 3650;
/// Certificates last as long as their authority: nothing renews them inside a running control plane.
const CERTIFICATE_DAYS: u32 = 3649;

fn parameters(common_name: &str, organization: Option<&str>, days: u32) -> anyhow::Result<CertificateParams> {
    let mut parameters = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    parameters.distinguished_name = name;
    let now = std::time::SystemTime::now();
    // A day back: members' clocks may lag behind.
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + DAY * days).into();
    Ok(parameters)
}

impl Authority {
    /// A new authority named after the federation.
    pub(crate) fn new(federation: &str) -> anyhow::Result<Self> {
        let mut parameters = parameters(federation, None, AUTHORITY_DAYS)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().context("cannot make a key for the certificate authority")?;
        let issuer = CertifiedIssuer::self_signed(parameters, key).context("cannot make the certificate authority")?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A serving certificate for these host names and addresses.
    pub(crate) fn server(&self, common_name: &str, names: &[String]) -> anyhow::Result<Pair> {
        let mut parameters = parameters(common_name, None, CERTIFICATE_DAYS)?;
        let sans = CertificateParams::new(names.to_vec()).context("invalid host name for the serving certificate")?;
        parameters.subject_alt_names = sans.subject_alt_names;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(common_name, parameters)
    }

    /// A client certificate: `user` in `group`.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> anyhow::Result<Pair> {
        let mut parameters = parameters(user, group, CERTIFICATE_DAYS)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(user, parameters)
    }

    fn sign(&self, whom: &str, mut parameters: CertificateParams) -> anyhow::Result<Pair> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("cannot make a key for {whom}"))?;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot sign a certificate for {whom}"))?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}
