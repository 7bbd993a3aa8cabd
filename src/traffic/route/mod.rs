//! Which backend a request belongs to: by host, then by path, as Ingress defines it.
//!
//! Hosts: an exact name before a wildcard (`*.example.com`, one label), before rules without a host. The most specific
//! host decides alone: its paths are not mixed with those of a less specific one. Paths: the longest that matches wins,
//! Exact before Prefix at the same length. What matches nothing goes to the default backend of the host's Ingress, then
//! to the global one. Paths are matched on the bytes the client sent: `%2F` is no separator, nothing is decoded or merged.

mod host;
mod path;

pub use host::normalize as normalize_host;
pub use path::{escapes_root, has_encoded_nul};

use std::collections::HashMap;

use path::Paths;

/// How a path of an Ingress matches. `ImplementationSpecific` is [`PathType::Prefix`] here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathType {
    /// The path itself, byte by byte.
    Exact,
    /// The path and everything below it, by `/`-separated elements.
    Prefix,
}

/// One path of one Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<T> {
    /// Host in any case, `*.…`, or empty for every host.
    pub host: String,
    /// Path, starting with `/`; empty means `/`.
    pub path: String,
    /// How it matches.
    pub path_type: PathType,
    /// Where to.
    pub target: T,
}

/// A routing table.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    exact: HashMap<Box<str>, HostRoutes<T>>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, HostRoutes<T>>,
    any: Option<HostRoutes<T>>,
    default: Option<T>,
}

#[derive(Debug, Clone)]
struct HostRoutes<T> {
    paths: Paths<T>,
    default: Option<T>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: None,
            default: None,
        }
    }
}

/// Builds [`Routes`]. What is added first wins over what is added later for the same host and path:
/// callers add Ingresses from the oldest to the youngest.
#[derive(Debug, Clone)]
pub struct Builder<T> {
    routes: Routes<T>,
}

impl<T> Default for Builder<T> {
    fn default() -> Self {
        Self {
            routes: Routes::default(),
        }
    }
}

impl<T> Builder<T> {
    /// Adds a rule; false if host, path and type were taken already.
    pub fn rule(&mut self, rule: Rule<T>) -> bool {
        let path = if rule.path.is_empty() { "/" } else { &rule.path };
        self.host(&rule.host).paths.insert(path, rule.path_type, rule.target)
    }

    /// The backend for paths of `host` that no rule matches; the first one stays.
    pub fn host_default(&mut self, host: &str, target: T) {
        self.host(host).default.get_or_insert(target);
    }

    /// The backend for everything else; the first one stays.
    pub fn default_backend(&mut self, target: T) {
        self.routes.default.get_or_insert(target);
    }

    /// The table.
    pub fn build(self) -> Routes<T> {
        self.routes
    }

    fn host(&mut self, host: &str) -> &mut HostRoutes<T> {
        let host = host.to_ascii_lowercase();
        let fresh = || HostRoutes {
            paths: Paths::default(),
            default: None,
        };
        match host.strip_prefix("*.") {
            Some(suffix) => self.routes.wildcard.entry(suffix.into()).or_insert_with(fresh),
            None if host.is_empty() || host == "*" => self.routes.any.get_or_insert_with(fresh),
            None => self.routes.exact.entry(host.into()).or_insert_with(fresh),
        }
    }
}

impl<T> Routes<T> {
    /// The backend for a request. `host` must be [normalised](normalize_host); `path` is as sent, without the query.
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let routes = self
            .exact
            .get(host)
            .or_else(|| {
                self.wildcard
                    .get(host.split_once('.').filter(|(label, _)| !label.is_empty())?.1)
            })
            .or(self.any.as_ref());
        routes
            .and_then(|routes| routes.paths.find(path).or(routes.default.as_ref()))
            .or(self.default.as_ref())
    }

    /// Whether any rule or default backend exists.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_none() && self.default.is_none()
    }
}

#[cfg(test)]
mod tests;
