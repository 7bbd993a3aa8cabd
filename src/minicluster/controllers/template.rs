//! Pod templates: their hash, and whether two are the same.

use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::pods::Labels;

/// Characters of hashes in names: no vowels, nothing that looks like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name-safe hash of a template. `collisions` makes another one when names collide.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    // FNV-1a, as the names only have to differ.
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Whether two templates are the same but for one label (the hash that a controller puts in).
pub(crate) fn equal_but(a: &PodTemplateSpec, b: &PodTemplateSpec, label: &str) -> bool {
    a.spec == b.spec && stripped(a, label) == stripped(b, label)
}

fn stripped(template: &PodTemplateSpec, label: &str) -> (Labels, Labels) {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.remove(label);
    (labels, meta.annotations.unwrap_or_default())
}

/// The template with one more label.
pub(crate) fn labelled(template: &PodTemplateSpec, label: &str, value: &str) -> PodTemplateSpec {
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(label.to_owned(), value.to_owned());
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(serde_json::json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": image}]}})).unwrap()
    }

    #[test]
    fn hashes_tell_templates_and_collisions_apart() {
        let one = hash(&template("a:1"), None);
        assert_eq!(one, hash(&template("a:1"), None));
        assert_ne!(one, hash(&template("a:2"), None));
        assert_ne!(one, hash(&template("a:1"), Some(1)));
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)));
    }

    #[test]
    fn the_hash_label_makes_no_difference() {
        let with = labelled(&template("a:1"), "pod-template-hash", "x");
        assert!(equal_but(&with, &template("a:1"), "pod-template-hash"));
        assert!(!equal_but(&with, &template("a:2"), "pod-template-hash"));
    }
}
