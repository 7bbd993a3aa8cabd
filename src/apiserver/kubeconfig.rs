//! The kubeconfig a server writes for its administrator.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

/// A kubeconfig with one context, as JSON (which is YAML).
#[must_use]
pub(crate) fn admin(name: &str, server: &str, ca_pem: &str, certificate: &str, key: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca_pem)}}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
        "current-context": name,
    });
    format!("{config:#}\n")
}
