//! From method and path to verb, group, version, resource, subresource, namespace and name.

use super::query::{Query, decode};

/// What a path names and a method does to it, in the terms of authorization and discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource (else only `path` and `verb` count).
    pub is_resource: bool,
    /// The decoded path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of other paths the lower-case method.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource, empty if none.
    pub subresource: String,
    /// Namespace, empty if none.
    pub namespace: String,
    /// Object name, empty if none.
    pub name: String,
    /// What follows the subresource (proxy paths).
    pub rest: Vec<String>,
}

const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request's first line.
    #[must_use]
    pub fn parse(method: &http::Method, raw_path: &str, query: &Query) -> Self {
        let path = decode(raw_path, false);
        let mut info = Self {
            path,
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        // Segments are split before they are decoded: an escaped slash is part of a name.
        let mut parts: Vec<String> = raw_path
            .trim_matches('/')
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| decode(p, false))
            .collect();
        let prefix = match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => 2,
            Some("apis") if parts.len() >= 4 => 3,
            _ => return info,
        };
        info.group = if prefix == 3 { parts[1].clone() } else { String::new() };
        info.version = parts[prefix - 1].clone();
        parts.drain(..prefix);
        info.is_resource = true;
        let mut verb = match *method {
            http::Method::GET | http::Method::HEAD => "get",
            http::Method::POST => "create",
            http::Method::PUT => "update",
            http::Method::PATCH => "patch",
            http::Method::DELETE => "delete",
            _ => "",
        };
        let deprecated_watch = parts.first().is_some_and(|p| p == "watch") && parts.len() > 1;
        if deprecated_watch {
            parts.remove(0);
            verb = "watch";
        }
        if parts.first().is_some_and(|p| p == "namespaces") && parts.len() > 1 {
            info.namespace = parts[1].clone();
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                parts.drain(..2);
            }
        }
        info.resource = parts.first().cloned().unwrap_or_default();
        info.name = parts.get(1).cloned().unwrap_or_default();
        info.subresource = parts.get(2).cloned().unwrap_or_default();
        info.rest = parts.drain(..).skip(3).collect();
        if info.name.is_empty() && verb == "get" {
            verb = if query.flag("watch") { "watch" } else { "list" };
        } else if info.name.is_empty() && verb == "delete" {
            verb = "deletecollection";
        }
        info.verb = verb.to_owned();
        info
    }

    /// `group/version` as in `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource as error texts name it: `deployments.apps`, `configmaps`.
    #[must_use]
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, url: &str) -> RequestInfo {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query))
    }

    fn short(info: &RequestInfo) -> String {
        format!(
            "{} {}/{} {}/{} {}:{}",
            info.verb, info.group, info.version, info.resource, info.subresource, info.namespace, info.name
        )
    }

    #[test]
    fn paths_are_read_as_kube_apiserver_reads_them() {
        for (method, url, expected) in [
            (
                "GET",
                "/api/v1/namespaces/default/configmaps/a",
                "get /v1 configmaps/ default:a",
            ),
            ("GET", "/api/v1/configmaps", "list /v1 configmaps/ :"),
            ("GET", "/api/v1/configmaps?watch=true", "watch /v1 configmaps/ :"),
            (
                "GET",
                "/api/v1/watch/namespaces/x/configmaps",
                "watch /v1 configmaps/ x:",
            ),
            ("GET", "/api/v1/namespaces/x", "get /v1 namespaces/ x:x"),
            ("GET", "/api/v1/namespaces", "list /v1 namespaces/ :"),
            (
                "PUT",
                "/api/v1/namespaces/x/finalize",
                "update /v1 namespaces/finalize x:x",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/x/deployments",
                "deletecollection apps/v1 deployments/ x:",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                "patch apps/v1 deployments/scale x:d",
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/x/deployments",
                "create apps/v1 deployments/ x:",
            ),
        ] {
            let info = parse(method, url);
            assert!(info.is_resource);
            assert_eq!(short(&info), expected, "{method} {url}");
        }
    }

    #[test]
    fn discovery_paths_are_no_resources() {
        for url in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/openapi/v3",
        ] {
            assert!(!parse("GET", url).is_resource, "{url}");
        }
    }

    #[test]
    fn what_follows_a_subresource_is_kept() {
        let info = parse("GET", "/api/v1/nodes/n/proxy/metrics/a");
        assert_eq!(info.rest, ["metrics", "a"]);
    }
}
