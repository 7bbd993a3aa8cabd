//! Names: what Kubernetes accepts, and the texts it refuses the rest with.
//!
//! Each function answers what is wrong with a text, one message per problem, in kube's order; nothing if it is fine.
//! Messages quote the regular expressions that kube prints; the checks themselves are plain byte scans.

use std::net::IpAddr;

use crate::text::go_quote;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SUBDOMAIN_WITH_UNDERSCORE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const HEADER_NAME: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// Longest DNS label, in bytes.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_MAX: usize = 253;

fn lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str, first: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&a), Some(&z)) => first(a) && lower_alnum(z) && bytes.iter().all(|&c| lower_alnum(c) || c == b'-'),
        _ => false,
    }
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|part| is_label(part, lower_alnum))
}

fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(a), Some(z)) => {
            a.is_ascii_alphanumeric()
                && z.is_ascii_alphanumeric()
                && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
        }
        _ => false,
    }
}

/// The messages of the conditions that hold.
fn problems<const N: usize>(checks: [(bool, String); N]) -> Vec<String> {
    checks
        .into_iter()
        .filter_map(|(wrong, message)| wrong.then_some(message))
        .collect()
}

fn longer_than(text: &str, max: usize) -> (bool, String) {
    (text.len() > max, format!("must be no more than {max} characters"))
}

fn bytes_longer_than(text: &str, max: usize) -> (bool, String) {
    (text.len() > max, format!("must be no more than {max} bytes"))
}

/// An RFC 1123 label of at most 63 bytes.
#[must_use]
pub fn dns1123_label(text: &str) -> Vec<String> {
    let wrong = !is_label(text, lower_alnum);
    let why = if wrong && is_subdomain(text) {
        "must not contain dots"
    } else {
        LABEL
    };
    problems([longer_than(text, LABEL_MAX), (wrong, why.into())])
}

/// An RFC 1123 subdomain of at most 253 bytes.
#[must_use]
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    problems([
        longer_than(text, SUBDOMAIN_MAX),
        (!is_subdomain(text), SUBDOMAIN.into()),
    ])
}

/// A DNS-1123 subdomain whose labels may begin with an underscore and have some within.
#[must_use]
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let within = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        ends(label.chars().next()) && ends(label.chars().next_back()) && label.chars().all(within)
    };
    problems([
        longer_than(text, SUBDOMAIN_MAX),
        (!text.split('.').all(label), SUBDOMAIN_WITH_UNDERSCORE.into()),
    ])
}

/// A subdomain after `*.`, as a host of an Ingress rule.
#[must_use]
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let wrong = !text.strip_prefix("*.").is_some_and(is_subdomain);
    problems([longer_than(text, SUBDOMAIN_MAX), (wrong, WILDCARD.into())])
}

/// A DNS-1035 label of at most 63 bytes.
#[must_use]
pub fn dns1035_label(text: &str) -> Vec<String> {
    problems([
        longer_than(text, LABEL_MAX),
        (!is_label(text, |c| c.is_ascii_lowercase()), LABEL_1035.into()),
    ])
}

/// A key of a label, annotation or finalizer: a name of at most 63 bytes, optionally after `subdomain/`.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = text.split('/');
    let name = match (parts.next().unwrap_or(""), parts.next(), parts.next()) {
        (name, None, _) => name,
        (prefix, Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                let wrong = [
                    bytes_longer_than(prefix, SUBDOMAIN_MAX),
                    (!is_subdomain(prefix), SUBDOMAIN.into()),
                ];
                errors.extend(
                    problems(wrong)
                        .into_iter()
                        .map(|message| format!("prefix part {message}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {KEY_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_key(name) {
        errors.push(format!("name part {KEY_RULE}"));
    }
    errors
}

/// A label's value: empty, or at most 63 bytes.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    problems([
        bytes_longer_than(text, LABEL_MAX),
        (!text.is_empty() && !is_key(text), LABEL_VALUE.into()),
    ])
}

/// A name that can stand in a URL path as it is: what RBAC objects are named by.
#[must_use]
pub fn path_segment_name(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    path_segment_prefix(text)
}

/// The beginning of a [`path_segment_name`].
#[must_use]
pub fn path_segment_prefix(text: &str) -> Vec<String> {
    problems(['/', '%'].map(|c| (text.contains(c), format!("may not contain '{c}'"))))
}

/// A name before a suffix is generated: checked as the name it will become, so one trailing dash is fine.
#[must_use]
pub fn generate_name(prefix: &str, check: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    // Kube takes the last byte before the dash away as well; so do we, or "a--" would fail.
    match prefix.strip_suffix('-').map(|rest| (rest, rest.len().checked_sub(1))) {
        Some((rest, Some(end))) if rest.is_char_boundary(end) => check(&format!("{}a", &rest[..end])),
        _ => check(prefix),
    }
}

/// A port's name: at most 15 of a-z, 0-9 and single inner dashes, one letter at least.
#[must_use]
pub fn port_name(text: &str) -> Vec<String> {
    let charset = !text.is_empty() && text.bytes().all(|c| lower_alnum(c) || c == b'-');
    problems([
        longer_than(text, 15),
        (
            !charset,
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into(),
        ),
        (
            !text.bytes().any(|c| c.is_ascii_lowercase()),
            "must contain at least one letter (a-z)".into(),
        ),
        (text.contains("--"), "must not contain consecutive hyphens".into()),
        (
            text.starts_with('-') || text.ends_with('-'),
            "must not begin or end with a hyphen".into(),
        ),
    ])
}

/// A number in a range, both ends included.
#[must_use]
pub fn in_range(number: i64, low: i64, high: i64) -> Vec<String> {
    problems([(
        !(low..=high).contains(&number),
        format!("must be between {low} and {high}, inclusive"),
    )])
}

/// A TCP or UDP port: 1 to 65535.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65_535)
}

/// A percentage, as `25%`.
#[must_use]
pub fn percent(text: &str) -> Vec<String> {
    let fine = text
        .strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()));
    problems([(!fine, PERCENT.into())])
}

/// An environment variable's name: printable ASCII without `=`.
#[must_use]
pub fn env_var_name(text: &str) -> Vec<String> {
    problems([
        (text.is_empty(), "environment variable name must be non-empty".into()),
        (
            !text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'='),
            ENV_NAME.into(),
        ),
    ])
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_map_key(text: &str) -> Vec<String> {
    let fine = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    let mut errors = problems([longer_than(text, SUBDOMAIN_MAX), (!fine, CONFIG_KEY.into())]);
    match text {
        "." | ".." => errors.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

/// A C identifier.
#[must_use]
pub fn c_identifier(text: &str) -> Vec<String> {
    let fine = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && text.bytes().next().is_some_and(|c| !c.is_ascii_digit());
    problems([(!fine, C_IDENTIFIER.into())])
}

/// A header's name, as probes may send it.
#[must_use]
pub fn http_header_name(text: &str) -> Vec<String> {
    let fine = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    problems([(!fine, HEADER_NAME.into())])
}

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// An IP address in its canonical form.
#[must_use]
pub fn ip(text: &str) -> Vec<String> {
    match (text.parse::<IpAddr>(), parse_ip_sloppy(text)) {
        (Err(_), None) => vec![IP.into()],
        (Err(_), Some(_)) => vec!["must not have leading 0s".into()],
        (Ok(IpAddr::V6(v6)), _) if v6.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".into()]
        }
        (Ok(parsed), _) => {
            let canonical = parsed.to_string();
            problems([(
                canonical != text,
                format!("must be in canonical form ({})", go_quote(&canonical)),
            )])
        }
    }
}

/// An IP address as old fields take it: any form that Go parses.
#[must_use]
pub fn ip_legacy(text: &str) -> Vec<String> {
    problems([(parse_ip_sloppy(text).is_none(), IP.into())])
}

/// Reads an address; IPv4 octets may have leading zeros, which are dropped.
#[must_use]
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(parsed) = text.parse() {
        return Some(parsed);
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|part| {
            let fine = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
            fine.then(|| part.parse().ok()).flatten()
        })
        .collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(|octets| IpAddr::V4(octets.into()))
}

/// An address and a prefix length, as `10.9.8.0/24`.
#[must_use]
pub fn cidr(text: &str) -> Vec<String> {
    let fine = text.split_once('/').is_some_and(|(address, length)| {
        let digits = !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit());
        match (parse_ip_sloppy(address), length.parse::<u8>()) {
            (Some(address), Ok(length)) => digits && length <= if address.is_ipv4() { 32 } else { 128 },
            _ => false,
        }
    });
    problems([(
        !fine,
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into(),
    )])
}

#[cfg(test)]
mod tests;
