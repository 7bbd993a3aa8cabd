//! Names: what Kubernetes accepts, and the texts it refuses the rest with.

const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

fn is_label(text: &str, first: fn(u8) -> bool) -> bool {
    let alnum = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&a), Some(&z)) => first(a) && alnum(z) && bytes.iter().all(|&c| alnum(c) || c == b'-'),
        _ => false,
    }
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// What is wrong with an RFC 1123 label of at most 63 bytes; empty if nothing is.
#[must_use]
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(too_long(63));
    }
    if !is_label(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        errors.push(DNS1123_LABEL.to_owned());
    }
    errors
}

/// What is wrong with an RFC 1123 subdomain of at most 253 bytes; empty if nothing is.
#[must_use]
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push(too_long(253));
    }
    if !text.split('.').all(|part| is_label(part, |c| c.is_ascii_lowercase() || c.is_ascii_digit())) {
        errors.push(DNS1123_SUBDOMAIN.to_owned());
    }
    errors
}

/// What is wrong with a DNS-1035 label of at most 63 bytes; empty if nothing is.
#[must_use]
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(too_long(63));
    }
    if !is_label(text, |c| c.is_ascii_lowercase()) {
        errors.push(DNS1035_LABEL.to_owned());
    }
    errors
}
