//! Keeping clients with their endpoint: by address, or by a signed cookie.
//!
//! The cookie names the cluster and carries a tag of the endpoint that only holders of the key can make: nobody can
//! choose an endpoint, and no internal address leaks.

use http::{HeaderMap, HeaderValue, header};
use ring::hmac;

use super::headers::hex;
use crate::runtime::{Endpoint, Member, Snapshot};

/// Name of the cookie.
pub const COOKIE: &str = "kubefed-lb";
/// Bytes of the tag that are used.
const TAG: usize = 16;

/// Signs and checks cookies.
#[derive(Debug)]
pub struct Signer(hmac::Key);

impl Signer {
    /// With a key that all load balancers of a federation should share.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn tag(&self, endpoint: &Endpoint) -> String {
        let named = format!(
            "{}\n{}\n{}",
            endpoint.identity.backend, endpoint.cluster, endpoint.shown
        );
        hex(&hmac::sign(&self.0, named.as_bytes()).as_ref()[..TAG])
    }

    /// The Set-Cookie that keeps a client with an endpoint.
    pub fn set_cookie(&self, endpoint: &Endpoint, secure: bool) -> Option<HeaderValue> {
        let secure = if secure { "; Secure" } else { "" };
        HeaderValue::try_from(format!(
            "{COOKIE}={}.{}; Path=/; HttpOnly; SameSite=Lax{secure}",
            endpoint.cluster,
            self.tag(endpoint)
        ))
        .ok()
    }

    /// The cluster and endpoint a client's cookie names, as long as they are in service.
    pub fn find<'a>(
        &self,
        headers: &HeaderMap,
        snapshot: &Snapshot,
        members: &'a [Option<Member>],
    ) -> Option<(usize, &'a std::sync::Arc<Endpoint>)> {
        let cookies = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let value = cookies
            .flat_map(|line| line.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
        let (cluster, tag) = value.rsplit_once('.')?;
        let index = snapshot
            .clusters
            .iter()
            .position(|known| *known.name == *cluster && !known.draining && known.scaler > 0.0)?;
        let member = members.get(index)?.as_ref()?;
        let matches = |endpoint: &&std::sync::Arc<Endpoint>| ring_equal(self.tag(endpoint).as_bytes(), tag.as_bytes());
        let endpoint = member.endpoints.iter().find(matches)?;
        endpoint.is_usable().then_some((index, endpoint))
    }
}

/// Comparison that takes the same time wherever the difference is.
fn ring_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
