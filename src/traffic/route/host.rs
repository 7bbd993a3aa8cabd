//! Host names out of requests.

use std::borrow::Cow;

/// The name to look up: without port and trailing dot, in lower case. `None` if it is no valid host.
pub fn normalize(host: &str) -> Option<Cow<'_, str>> {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            check_port(port)?;
            &host[..address.len() + 2]
        }
        None => {
            let (name, port) = host.find(':').map_or((host, ""), |at| host.split_at(at));
            check_port(port)?;
            name.strip_suffix('.').unwrap_or(name)
        }
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':');
    if name.is_empty() || !name.bytes().all(valid) {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Nothing, or a colon and a port number (which may be absent, RFC 3986).
fn check_port(port: &str) -> Option<()> {
    match port.strip_prefix(':') {
        None => port.is_empty().then_some(()),
        Some("") => Some(()),
        Some(digits) => {
            (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()).then_some(())
        }
    }
}
