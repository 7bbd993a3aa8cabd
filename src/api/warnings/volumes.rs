//! Warnings about files of one volume that would end up at, or below, the same path.

use apimachinery::text::go_quote;

use crate::validation::At;

/// A path in a volume, and what puts a file there.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn shown(&self) -> String {
        if self.source.is_empty() {
            go_quote(&self.path)
        } else {
            format!("{} ({})", go_quote(&self.path), self.source)
        }
    }

    /// Whether one of two paths is, or is below, the other.
    fn overlaps(&self, other: &Self) -> bool {
        let below = |path: &str, of: &str| format!("{path}/").starts_with(&format!("{of}/"));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (below(&self.path, &other.path) || below(&other.path, &self.path))
    }
}

/// Warnings about `spec.volumes`.
pub(super) fn overlapping_paths(volumes: &At<'_>, warnings: &mut Vec<String>) {
    for volume in volumes.items() {
        let name = volume.key("name").text();
        for kind in ["configMap", "secret", "downwardAPI"] {
            let source = volume.key(kind);
            let described = described(kind, &source);
            overlaps(name, &described, items(&source, ""), warnings);
        }
        projected(name, &volume.key("projected"), warnings);
    }
}

fn described(kind: &str, source: &At<'_>) -> String {
    match kind {
        "configMap" => format!("ConfigMap {}", go_quote(source.key("name").text())),
        "secret" => {
            let names = ["secretName", "name"].map(|key| source.key(key).text());
            format!(
                "Secret {}",
                go_quote(names.into_iter().find(|name| !name.is_empty()).unwrap_or_default())
            )
        }
        _ => "DownwardAPI".to_owned(),
    }
}

fn items(source: &At<'_>, described: &str) -> Vec<File> {
    let file = |item: At<'_>| File {
        path: item.key("path").text().trim_end_matches('/').to_owned(),
        source: described.to_owned(),
    };
    source.key("items").items().map(file).collect()
}

fn projected(name: &str, volume: &At<'_>, warnings: &mut Vec<String>) {
    let mut files = Vec::new();
    for source in volume.key("sources").items() {
        if source.is_empty() {
            warnings.push(format!("volume {} (Projected) has no sources provided", go_quote(name)));
        }
        for kind in ["configMap", "secret", "downwardAPI"] {
            let one = source.key(kind);
            files.extend(items(&one, &described(kind, &one)));
        }
        let token = source.key("serviceAccountToken");
        if token.is_set() {
            files.push(File {
                path: token.key("path").text().trim_end_matches('/').to_owned(),
                source: "ServiceAccountToken".to_owned(),
            });
        }
    }
    overlaps(name, "Projected", files, warnings);
}

fn overlaps(volume: &str, described: &str, files: Vec<File>, warnings: &mut Vec<String>) {
    for (at, file) in files.iter().enumerate() {
        for other in files[..at].iter().filter(|other| file.overlaps(other)) {
            warnings.push(format!(
                "volume {} ({described}): overlapping paths: {} with {}",
                go_quote(volume),
                file.shown(),
                other.shown()
            ));
        }
    }
}
