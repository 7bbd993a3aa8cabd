//! Headers of requests on their way to endpoints.
//!
//! What concerns the client's connection stays here; what a client may not claim (where it is, who it is, which proxies
//! it came through) is replaced by what we know, unless the peer is a trusted proxy.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::client::Client;
use crate::upstream::exchange::Sending;

/// Hashed once instead of for every request.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Everything that makes the outgoing head.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// Who the client is.
    pub client: &'a Client,
    /// Whether the peer may speak for others.
    pub trusted: bool,
    /// The peer's address, appended to X-Forwarded-For of a trusted peer.
    pub peer: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host as the client sent it.
    pub host: &'a str,
    /// X-Request-Id.
    pub request_id: &'a str,
    /// traceparent, if the client sent no valid one.
    pub traceparent: Option<&'a [u8]>,
    /// Protocol to upgrade to.
    pub upgrade: Option<&'a HeaderValue>,
    /// Length or chunks of the body; `None` without one.
    pub body: Option<(Sending, u64)>,
    /// The endpoint speaks HTTP/2.
    pub http2: bool,
}

impl Outgoing<'_> {
    /// Hands every field to `sink`.
    pub fn emit(&self, mut sink: impl FnMut(&str, &[u8])) {
        if !self.http2 {
            sink("host", self.host.as_bytes());
        }
        let nominated = nominated(self.headers);
        for (name, value) in self.headers {
            if self.passes(name, &nominated) {
                sink(name.as_str(), value.as_bytes());
            }
        }
        if !self.http2 {
            self.emit_cookies(&mut sink);
        }
        self.emit_framing(&mut sink);
        self.emit_forwarded(&mut sink);
        sink("x-request-id", self.request_id.as_bytes());
        if let Some(traceparent) = self.traceparent {
            sink("traceparent", traceparent);
        }
        if let Some(country) = &self.client.country_header {
            sink("x-client-geo-country", country.as_bytes());
        }
        if let Some(point) = &self.client.point_header {
            sink("x-client-geo-location", point.as_bytes());
        }
        sink("x-client-geo-source", self.client.location.source.name().as_bytes());
    }

    /// HTTP/2 clients send one field per cookie; HTTP/1.1 knows one field only (RFC 9113 §8.2.3).
    fn emit_cookies(&self, sink: &mut impl FnMut(&str, &[u8])) {
        let mut fields = self.headers.get_all(header::COOKIE).iter();
        let Some(first) = fields.next() else { return };
        let mut rest = fields.peekable();
        if rest.peek().is_none() {
            return sink("cookie", first.as_bytes());
        }
        let mut joined = first.as_bytes().to_vec();
        for field in rest {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(field.as_bytes());
        }
        sink("cookie", &joined);
    }

    fn emit_framing(&self, sink: &mut impl FnMut(&str, &[u8])) {
        if let Some(protocol) = self.upgrade {
            sink("connection", b"upgrade");
            sink("upgrade", protocol.as_bytes());
        }
        match self.body {
            Some((Sending::Plain, length)) => sink("content-length", length.to_string().as_bytes()),
            Some((Sending::Chunked, _)) if !self.http2 => sink("transfer-encoding", b"chunked"),
            Some((Sending::Chunked, _)) => {}
            // Its absence and its being 0 are not the same to every server.
            None if self.headers.contains_key(header::CONTENT_LENGTH) => sink("content-length", b"0"),
            None => {}
        }
        if self.http2 && self.headers.get(header::TE).is_some_and(|te| te == "trailers") {
            sink("te", b"trailers");
        }
    }

    fn emit_forwarded(&self, sink: &mut impl FnMut(&str, &[u8])) {
        let client = self.client.address_header.as_bytes();
        if self.trusted {
            let before: Vec<&[u8]> = self
                .headers
                .get_all("x-forwarded-for")
                .iter()
                .map(HeaderValue::as_bytes)
                .collect();
            let mut line = before.join(&b", "[..]);
            if !line.is_empty() {
                line.extend_from_slice(b", ");
            }
            line.extend_from_slice(self.peer.as_bytes());
            sink("x-forwarded-for", &line);
        } else {
            sink("x-forwarded-for", client);
        }
        let given = |name| self.trusted && self.headers.contains_key(name);
        if !given("x-forwarded-proto") {
            sink("x-forwarded-proto", self.scheme.as_bytes());
        }
        if !given("x-forwarded-host") {
            sink("x-forwarded-host", self.host.as_bytes());
        }
        sink("x-real-ip", client);
    }

    fn passes(&self, name: &HeaderName, nominated: &[HeaderName]) -> bool {
        let joined = !self.http2 && *name == header::COOKIE;
        // What Connection nominates is the connection's, save what is dropped or set anyway.
        !joined && !is_replaced(name) && !nominated.contains(name) && !self.is_sanitised(name)
    }

    fn is_sanitised(&self, name: &HeaderName) -> bool {
        if *name == header::FORWARDED {
            return !self.trusted;
        }
        if name.as_str() == "traceparent" || name.as_str() == "tracestate" {
            // Ours replaces a broken one, and a state without its parent means nothing.
            return self.traceparent.is_some();
        }
        let Some(name) = name.as_str().strip_prefix("x-") else {
            return false;
        };
        match name {
            "forwarded-for" | "real-ip" | "request-id" | "lb-cluster" => true,
            _ if name.starts_with("client-geo-") => true,
            _ if name.starts_with("forwarded-") => !self.trusted,
            _ => false,
        }
    }
}

/// Fields of the connection, of the body's framing, and Host: written anew if at all.
fn is_replaced(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Fields that Connection says are for this connection only.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if token.eq_ignore_ascii_case("keep-alive")
                || token.eq_ignore_ascii_case("close")
                || token.eq_ignore_ascii_case("upgrade")
            {
                continue;
            }
            names.extend(HeaderName::from_bytes(token.as_bytes()).ok());
        }
    }
    names
}

/// X-Request-Id of a trusted peer, if it is usable.
pub fn given_request_id(headers: &HeaderMap, trusted: bool) -> Option<HeaderValue> {
    if !trusted {
        return None;
    }
    let id = headers.get(&X_REQUEST_ID)?;
    let usable = !id.is_empty() && id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic);
    usable.then(|| id.clone())
}

/// Whether the client sent a W3C traceparent that can be passed on.
pub fn has_traceparent(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(&TRACEPARENT).map(HeaderValue::as_bytes) else {
        return false;
    };
    let is_hex = |part: &[u8]| {
        part.iter()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'-').collect();
    match parts[..] {
        [version, trace, span, flags] => {
            (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2)
                && parts.iter().all(|part| is_hex(part))
                && version != b"ff"
                && trace.iter().any(|byte| *byte != b'0')
                && span.iter().any(|byte| *byte != b'0')
        }
        _ => false,
    }
}

/// A W3C traceparent of a trace (16 bytes) and a span (8 bytes), not sampled.
pub fn traceparent(ids: &[u8; 24]) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&ids[..16], &mut text[3..35]);
    write_hex(&ids[16..], &mut text[36..52]);
    text
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = vec![0; 2 * bytes.len()];
    write_hex(bytes, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}

/// Writes lower-case hexadecimal digits, two for each byte.
pub fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traffic::{
        geo::Point,
        locate::{Location, Source},
    };

    fn emitted(fields: &[(&'static str, &'static str)], change: impl FnOnce(&mut Outgoing<'_>)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let location = Location {
            point: Point::checked(50.47, 3.82),
            country: Some("BE".to_owned()),
            clusters: Vec::new(),
            source: Source::Map,
        };
        let client = Client::of_test("81.2.69.142", location);
        let mut outgoing = Outgoing {
            headers: &headers,
            client: &client,
            trusted: false,
            peer: "10.0.0.1",
            scheme: "https",
            host: "A.example:80",
            request_id: "r",
            traceparent: None,
            upgrade: None,
            body: None,
            http2: false,
        };
        change(&mut outgoing);
        let mut lines = Vec::new();
        outgoing.emit(|name, value| lines.push(format!("{name}: {}", String::from_utf8_lossy(value))));
        lines
    }

    fn of_untrusted(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        emitted(fields, |_| {})
    }

    #[test]
    fn an_untrusted_clients_claims_are_replaced() {
        let claims = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-client-geo-country", "XX"),
            ("x-client-geo-other", "XX"),
            ("x-request-id", "evil"),
            ("accept", "*/*"),
        ];
        assert_eq!(
            of_untrusted(&claims),
            [
                "host: A.example:80",
                "accept: */*",
                "x-forwarded-for: 81.2.69.142",
                "x-forwarded-proto: https",
                "x-forwarded-host: A.example:80",
                "x-real-ip: 81.2.69.142",
                "x-request-id: r",
                "x-client-geo-country: BE",
                "x-client-geo-location: 50.4700,3.8200",
                "x-client-geo-source: map",
            ]
        );
    }

    #[test]
    fn a_trusted_proxys_claims_are_kept_and_its_own_address_appended() {
        let claims = [
            ("x-forwarded-for", "81.2.69.142"),
            ("x-forwarded-for", "10.9.9.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/a"),
        ];
        let lines = emitted(&claims, |outgoing| outgoing.trusted = true);
        assert!(
            lines.contains(&"x-forwarded-for: 81.2.69.142, 10.9.9.9, 10.0.0.1".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"x-forwarded-proto: http".to_owned())
                && lines.contains(&"x-forwarded-prefix: /a".to_owned())
        );
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("x-forwarded-proto"))
                .count(),
            1
        );
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let lines = of_untrusted(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("proxy-authorization", "secret"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
        ]);
        assert_eq!(lines.len(), 9, "{lines:?}");
    }

    #[test]
    fn the_body_is_framed_anew() {
        let sent = |body, fields: &[(&'static str, &'static str)]| {
            let lines = emitted(fields, |outgoing| outgoing.body = body);
            lines
                .into_iter()
                .filter(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            sent(Some((Sending::Plain, 5)), &[("content-length", "5")]),
            ["content-length: 5"]
        );
        assert_eq!(
            sent(Some((Sending::Chunked, 0)), &[("transfer-encoding", "chunked")]),
            ["transfer-encoding: chunked"]
        );
        assert_eq!(sent(None, &[("content-length", "0")]), ["content-length: 0"]);
        assert!(sent(None, &[]).is_empty());
    }

    #[test]
    fn a_broken_traceparent_is_replaced_and_a_sound_one_kept() {
        let mut headers = HeaderMap::new();
        for (value, sound) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("evil", false),
        ] {
            headers.insert("traceparent", HeaderValue::from_static(value));
            assert_eq!(has_traceparent(&headers), sound, "{value}");
        }
    }

    #[test]
    fn a_new_traceparent_is_a_sound_one() {
        let ids = std::array::from_fn(|index| (index as u8).wrapping_add(0xf0));
        let text = traceparent(&ids);
        assert_eq!(&text[..], b"00-f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff-0001020304050607-00");
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_bytes(&text).expect("a value"));
        assert!(has_traceparent(&headers));
    }
}
