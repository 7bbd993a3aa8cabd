//! Keys that sign and verify ServiceAccount tokens: RSA (RS256) or ECDSA P-256 (ES256), PEM.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_parser::{der_parser::asn1_rs::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no key of a kind that tokens are signed with.
    #[error("the PEM holds no RSA or ECDSA P-256 key")]
    Unknown,
    /// The key cannot sign.
    #[error("cannot sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

struct Verifier {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: Value,
}

struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    id: String,
}

/// One key that signs, and any number that verify.
#[derive(Default)]
pub struct Keys {
    signer: Option<Signer>,
    verifiers: Vec<Verifier>,
}

impl Keys {
    /// Adds the key that signs. Its public half verifies too.
    ///
    /// # Errors
    /// If the PEM holds no private key of a known kind.
    pub fn set_signer(&mut self, private_pem: &str) -> Result<(), KeyError> {
        let (key, algorithm) = private_key(private_pem)?;
        let spki = public_of(private_pem)?;
        let id = key_id(&spki);
        self.add_spki(&spki)?;
        self.signer = Some(Signer { key, algorithm, id });
        Ok(())
    }

    /// Adds keys that verify: every public key, or public half of a private one, in a PEM text.
    ///
    /// # Errors
    /// If there is none of a known kind.
    pub fn add_verifiers(&mut self, pem: &str) -> Result<(), KeyError> {
        let mut found = false;
        for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).flatten() {
            let spki = match block.label.as_str() {
                "PUBLIC KEY" => block.contents.clone(),
                "CERTIFICATE" => {
                    let (_, certificate) =
                        x509_parser::parse_x509_certificate(&block.contents).map_err(|_| KeyError::Unknown)?;
                    certificate.public_key().raw.to_vec()
                }
                label if label.ends_with("PRIVATE KEY") => public_of(pem)?,
                _ => continue,
            };
            self.add_spki(&spki)?;
            found = true;
        }
        if found { Ok(()) } else { Err(KeyError::Unknown) }
    }

    fn add_spki(&mut self, spki: &[u8]) -> Result<(), KeyError> {
        let id = key_id(spki);
        if self.verifiers.iter().any(|verifier| verifier.id == id) {
            return Ok(());
        }
        let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| KeyError::Unknown)?;
        let unusable = |_| KeyError::Unknown;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, key, jwk) = match parsed.parsed().map_err(|_| KeyError::Unknown)? {
            PublicKey::RSA(rsa) => {
                let trimmed = |bytes: &[u8]| encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
                let (n, e) = (trimmed(rsa.modulus), trimmed(rsa.exponent));
                let key = DecodingKey::from_rsa_components(&n, &e).map_err(unusable)?;
                let jwk = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e});
                (Algorithm::RS256, key, jwk)
            }
            PublicKey::EC(point) if point.data().len() == 65 => {
                let (x, y) = (encode(&point.data()[1..33]), encode(&point.data()[33..]));
                let key = DecodingKey::from_ec_components(&x, &y).map_err(unusable)?;
                let jwk = json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
                (Algorithm::ES256, key, jwk)
            }
            _ => return Err(KeyError::Unknown),
        };
        self.verifiers.push(Verifier {
            id,
            algorithm,
            key,
            jwk,
        });
        Ok(())
    }

    pub(super) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, KeyError> {
        let signer = self.signer.as_ref().ok_or(KeyError::Unknown)?;
        let header = Header {
            typ: None,
            kid: Some(signer.id.clone()),
            ..Header::new(signer.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &signer.key).map_err(KeyError::Sign)
    }

    /// The claims, if any key verifies the signature. Times and audiences are the caller's.
    pub(super) fn verify<T: DeserializeOwned + Clone>(&self, token: &str) -> Option<T> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let named = |verifier: &&Verifier| header.kid.as_ref().is_none_or(|id| *id == verifier.id);
        let fits = |verifier: &&Verifier| verifier.algorithm == header.alg;
        // A key id is a hint: tokens of other issuers of the same keys may have none, or another.
        let candidates = self
            .verifiers
            .iter()
            .filter(named)
            .chain(self.verifiers.iter().filter(|v| !named(v)));
        candidates.filter(fits).find_map(|verifier| {
            let mut validation = Validation::new(verifier.algorithm);
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            let decoded = jsonwebtoken::decode::<T>(token, &verifier.key, &validation);
            decoded.ok().map(|token| token.claims)
        })
    }

    /// The JSON Web Key Set that `/openid/v1/jwks` serves.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.verifiers.iter().map(|verifier| &verifier.jwk).collect::<Vec<_>>()})
    }

    /// The algorithms, for OpenID discovery.
    #[must_use]
    pub fn algorithms(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.verifiers.iter().filter_map(|v| v.jwk["alg"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// As kube-apiserver: the digest of the public key.
fn key_id(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(spki))
}

fn private_key(pem: &str) -> Result<(EncodingKey, Algorithm), KeyError> {
    if let Ok(key) = EncodingKey::from_ec_pem(pem.as_bytes()) {
        return Ok((key, Algorithm::ES256));
    }
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyError::Unknown)?;
    Ok((key, Algorithm::RS256))
}

/// The public half of a private key, as SubjectPublicKeyInfo.
fn public_of(private_pem: &str) -> Result<Vec<u8>, KeyError> {
    let key = PrivateKeyDer::from_pem_slice(private_pem.as_bytes()).map_err(|_| KeyError::Unknown)?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| KeyError::Unknown)?;
    let spki = signing.public_key().ok_or(KeyError::Unknown)?;
    Ok(spki.to_vec())
}
