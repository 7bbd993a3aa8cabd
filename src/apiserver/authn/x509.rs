//! Client certificates: the common name is the user, the organizations are the groups.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};
use x509_parser::{der_parser::oid, x509::AttributeTypeAndValue};

use super::{UserInfo, extra};

/// The user of a certificate whose chain has been verified; `None` if it names nobody.
#[must_use]
pub fn user(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let subject = certificate.subject();
    let username = subject
        .iter_common_name()
        .next()
        .and_then(text)
        .filter(|name| !name.is_empty())?;
    // Kubernetes' own attribute for the uid.
    let uid = subject
        .iter_by_oid(&oid!(1.3.6.1.4.1.57683.2))
        .next()
        .and_then(text)
        .unwrap_or_default();
    let groups = subject.iter_organization().filter_map(text).collect();
    let mut id = String::from("X509SHA256=");
    for byte in Sha256::digest(der) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    let extra = BTreeMap::from([(extra::CREDENTIAL_ID.to_owned(), vec![id])]);
    Some(UserInfo {
        username,
        uid,
        groups,
        extra,
    })
}
