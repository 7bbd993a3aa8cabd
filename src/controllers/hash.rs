//! Hashes of JSON values that do not depend on the order of keys.
//!
//! They stand for what was applied to a member, live in annotations, and must therefore stay the same from
//! one version of this program to the next, or an upgrade rewrites every object of every member.

use apimachinery::Object;
use sha2::{Digest, Sha256};

/// 128 bits of SHA-256: enough that two states of one object never collide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash([u8; 16]);

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Hash {
    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32)
            .then(|| u128::from_str_radix(text, 16).ok().map(|n| Self(n.to_be_bytes())))
            .flatten()
    }

    /// The hash of a JSON value.
    #[must_use]
    pub fn of(value: &Object) -> Self {
        let mut digest = Sha256::new();
        feed(&mut digest, value);
        Self::finish(digest)
    }

    /// This hash combined with more text.
    #[must_use]
    pub fn with(self, text: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.0);
        digest.update(text.as_bytes());
        Self::finish(digest)
    }

    fn finish(digest: Sha256) -> Self {
        let bytes = digest.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&bytes[..16]);
        Self(first)
    }
}

// Every value is preceded by its type and length, so that no two values feed the same bytes.
fn feed(digest: &mut Sha256, value: &Object) {
    match value {
        Object::Null => digest.update(b"n"),
        Object::Bool(true) => digest.update(b"t"),
        Object::Bool(false) => digest.update(b"f"),
        Object::Number(number) => feed_text(digest, b'#', &number.to_string()),
        Object::String(text) => feed_text(digest, b's', text),
        Object::Array(items) => {
            feed_length(digest, b'[', items.len());
            items.iter().for_each(|item| feed(digest, item));
        }
        Object::Object(map) => {
            feed_length(digest, b'{', map.len());
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                feed_text(digest, b'k', key);
                feed(digest, &map[key]);
            }
        }
    }
}

fn feed_length(digest: &mut Sha256, tag: u8, length: usize) {
    digest.update([tag]);
    digest.update((length as u64).to_be_bytes());
}

fn feed_text(digest: &mut Sha256, tag: u8, text: &str) {
    feed_length(digest, tag, text.len());
    digest.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter_and_everything_else_does() {
        assert_eq!(
            Hash::of(&json!({"a": 1, "b": [1, 2]})),
            Hash::of(&json!({"b": [1, 2], "a": 1}))
        );
        assert_ne!(Hash::of(&json!({"a": 1})), Hash::of(&json!({"a": "1"})));
        assert_ne!(Hash::of(&json!([["a"], "b"])), Hash::of(&json!([["a", "b"]])));
        assert_ne!(Hash::of(&json!({"a": null})), Hash::of(&json!({})));
    }

    #[test]
    fn hashes_stay_the_same_across_versions() {
        let hash = Hash::of(&json!({"kind": "ConfigMap", "data": {"k": "v"}}));
        assert_eq!(hash.to_string(), "c4522989ae1b974fb182960aaaa48435");
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        assert_eq!(Hash::parse("xyz"), None);
    }
}
