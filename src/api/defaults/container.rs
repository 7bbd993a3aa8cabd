//! Defaults of containers: pull policy by image tag, termination messages, ports, probes.

use serde_json::{Value, json};

use crate::json::{default_to, default_zero, items_mut, remove, text};

/// Longest name of an image without its tag and digest.
const MAX_REPOSITORY_LENGTH: usize = 255;

/// Fills in the defaults of a container.
pub(crate) fn container(container: &mut Value) {
    let policy = pull_policy(text(&container["image"]));
    default_zero(container, "imagePullPolicy", policy);
    default_zero(container, "terminationMessagePath", "/dev/termination-log");
    default_zero(container, "terminationMessagePolicy", "File");
    default_to(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        default_zero(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(source) = variable.get_mut("valueFrom") {
            field_ref(source);
            if let Some(file) = source.get_mut("fileKeyRef").filter(|f| f.is_object()) {
                default_to(file, "optional", false);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).filter(|p| p.is_object()) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        // Not a field unless a feature is switched on that is off by default.
        remove(lifecycle, "stopSignal");
    }
    for name in ["postStart", "preStop"] {
        if let Some(hook) = container.get_mut("lifecycle").and_then(|l| l.get_mut(name)) {
            http_get(hook);
        }
    }
}

/// `Always` for images that may change under their name, `IfNotPresent` for the others.
pub(crate) fn pull_policy(image: &str) -> &'static str {
    if tag(image) == Some("latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The tag of an image: `latest` if it has neither tag nor digest; `None` if the name is not a good one.
fn tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[start..].split_once(':') {
        Some((last, tag)) => (&name[..start + last.len()], Some(tag)),
        None => (name, None),
    };
    if !is_repository(repository) || repository.len() > MAX_REPOSITORY_LENGTH {
        return None;
    }
    match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    }
}

fn is_repository(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => name,
    };
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    path.split('/').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(good)
    })
}

fn probe(probe: &mut Value) {
    for (key, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        default_zero(probe, key, value);
    }
    http_get(probe);
    if let Some(grpc) = probe.get_mut("grpc").filter(|g| g.is_object()) {
        default_to(grpc, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|g| g.is_object()) {
        default_zero(get, "path", "/");
        default_zero(get, "scheme", "HTTP");
    }
}

/// Fields are referred to in `v1`.
pub(crate) fn field_ref(parent: &mut Value) {
    if let Some(field) = parent.get_mut("fieldRef").filter(|f| f.is_object()) {
        default_zero(field, "apiVersion", "v1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_change_are_always_pulled() {
        let table = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
            ("Registry.example/a/b", "Always"),
            ("NGINX", "IfNotPresent"),
            ("", "IfNotPresent"),
        ];
        for (image, expected) in table {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
