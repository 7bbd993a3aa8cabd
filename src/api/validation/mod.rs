//! Validation: same reasons, fields and texts as kube-apiserver.

mod at;
pub(crate) mod container;
pub(crate) mod pod_spec;
pub(crate) mod probe;
pub(crate) mod resources;
pub(crate) mod scheduling;
pub(crate) mod security;
pub(crate) mod template;
pub(crate) mod volume;
pub(crate) mod volume_claim;

pub(crate) use at::At;

use std::net::IpAddr;

use apimachinery::{field::ErrorList, names, selector, validation};
use serde_json::Value;

pub(crate) const NON_NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const POSITIVE: &str = "must be greater than zero";

/// A number below 0.
pub(crate) fn non_negative(at: &At<'_>, errors: &mut ErrorList) {
    if at.int() < 0 {
        errors.push(at.invalid(NON_NEGATIVE));
    }
}

/// Every problem a check has with the text.
pub(crate) fn text(at: &At<'_>, check: impl Fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    errors.extend(
        check(at.text())
            .iter()
            .map(|problem| at.invalid_value(&at.text().into(), problem)),
    );
}

/// A text that must be there and pass a check.
pub(crate) fn required_text(at: &At<'_>, check: impl Fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    if at.text().is_empty() {
        errors.push(at.required(""));
    } else {
        text(at, check, errors);
    }
}

/// A text that must be one of a set; `""` is as good as absent.
pub(crate) fn one_of(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if at.text().is_empty() {
        errors.push(at.required(""));
    } else if !supported.contains(&at.text()) {
        errors.push(at.not_supported(supported));
    }
}

/// A text that, if it is there, must be one of a set.
pub(crate) fn one_of_if_set(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if at.is_set() && !supported.contains(&at.text()) {
        errors.push(at.not_supported(supported));
    }
}

/// Labels.
pub(crate) fn labels(at: &At<'_>, errors: &mut ErrorList) {
    errors.extend(validation::labels(Some(at.value), &at.path));
}

/// Annotations.
pub(crate) fn annotations(at: &At<'_>, errors: &mut ErrorList) {
    errors.extend(validation::annotations(Some(at.value), &at.path));
}

/// A LabelSelector; absent is fine.
pub(crate) fn label_selector(at: &At<'_>, errors: &mut ErrorList) {
    errors.extend(selector::validate_label_selector(at.value, &at.path));
}

/// A field that may not change.
pub(crate) fn immutable(new: &At<'_>, old: &Value, errors: &mut ErrorList) {
    if new.value != old {
        errors.push(new.invalid(validation::IMMUTABLE));
    }
}

/// A port: a number or a name.
pub(crate) fn port_number_or_name(at: &At<'_>, errors: &mut ErrorList) {
    let problems = match at.value {
        Value::String(name) => names::port_name(name),
        other => names::port_number(other.as_i64().unwrap_or_default()),
    };
    if at.is_set() {
        errors.extend(problems.iter().map(|problem| at.invalid(problem)));
    } else {
        errors.extend(problems.iter().map(|problem| at.invalid_value(&0.into(), problem)));
    }
}

/// A number of things, or a percentage of them.
pub(crate) fn int_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value {
        Value::String(_) => text(at, names::percent, errors),
        _ => non_negative(at, errors),
    }
}

/// The number, or the percentage as a number; 0 if it is neither.
pub(crate) fn int_or_percent_value(value: &Value) -> i64 {
    match value {
        Value::String(text) => percent(value).or_else(|| text.parse().ok()).unwrap_or_default(),
        number => crate::json::int(number),
    }
}

/// A percentage above 100.
pub(crate) fn not_more_than_100_percent(at: &At<'_>, errors: &mut ErrorList) {
    if percent(at.value).is_some_and(|percent| percent > 100) {
        errors.push(at.invalid("must not be greater than 100%"));
    }
}

/// The percentage that a text is.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

/// An address that traffic is sent to. Unlike kube-apiserver this accepts loopback addresses: clusters that live in one
/// process have no others.
pub(crate) fn endpoint_ip(at: &At<'_>, errors: &mut ErrorList) {
    let Some(ip) = names::parse_ip_sloppy(at.text()) else {
        text(at, names::ip_legacy, errors);
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.push(at.invalid(&format!("may not be unspecified ({})", at.text())));
    }
    if link_local {
        errors.push(at.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if link_local_multicast {
        errors.push(at.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
}

/// A name such as `example.com/name`.
pub(crate) fn domain_prefixed_path(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().is_empty() {
        errors.push(at.required(""));
        return;
    }
    let Some((domain, path)) = at
        .text()
        .split_once('/')
        .filter(|(d, p)| !d.is_empty() && !p.is_empty())
    else {
        errors.push(at.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"));
        return;
    };
    errors.extend(
        names::dns1123_subdomain(domain)
            .iter()
            .map(|p| at.invalid_value(&domain.into(), p)),
    );
    let good = |c: char| c.is_ascii_alphanumeric() || "/%!$&'()*+,;=:.-_~@".contains(c);
    if !path.chars().all(good) {
        let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(at.invalid_value(&path.into(), detail));
    }
}
