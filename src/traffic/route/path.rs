//! Matching paths: a map for exact ones, a trie by segment for prefixes.

use std::collections::HashMap;

use super::PathType;

#[derive(Debug, Clone)]
pub(super) struct Paths<T> {
    exact: HashMap<Box<str>, T>,
    prefixes: Node<T>,
}

/// A node of the trie; the way from the root spells a prefix, segment by segment.
#[derive(Debug, Clone)]
struct Node<T> {
    target: Option<T>,
    children: HashMap<Box<str>, Node<T>>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            target: None,
            children: HashMap::new(),
        }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefixes: Node::default(),
        }
    }
}

impl<T> Paths<T> {
    /// Adds a path; false if it was taken.
    pub(super) fn insert(&mut self, path: &str, path_type: PathType, target: T) -> bool {
        let slot = match path_type {
            PathType::Exact => {
                return match self.exact.entry(path.into()) {
                    std::collections::hash_map::Entry::Occupied(_) => false,
                    std::collections::hash_map::Entry::Vacant(slot) => {
                        slot.insert(target);
                        true
                    }
                };
            }
            PathType::Prefix => {
                let mut node = &mut self.prefixes;
                for segment in prefix_segments(path) {
                    node = node.children.entry(segment.into()).or_default();
                }
                &mut node.target
            }
        };
        let free = slot.is_none();
        slot.get_or_insert(target);
        free
    }

    /// The longest path that matches, exact before prefix.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        if let Some(target) = self.exact.get(path) {
            return Some(target);
        }
        let mut node = &self.prefixes;
        let mut best = node.target.as_ref();
        for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => break,
            }
            best = node.target.as_ref().or(best);
        }
        best
    }
}

/// Segments of a prefix; a trailing slash means nothing.
fn prefix_segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').take(if path.is_empty() { 0 } else { usize::MAX })
}

/// Whether following the path's `..` segments, encoded or not, leaves the root at any point.
pub fn escapes_root(path: &str) -> bool {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') && !bytes.windows(2).any(|pair| pair == b"..") {
        return false;
    }
    let mut depth = 0usize;
    for segment in path.split('/') {
        match dots(segment) {
            Some(2) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            Some(1) => {}
            Some(_) | None => depth += usize::from(!segment.is_empty()),
        }
    }
    false
}

/// How many dots a segment of nothing but dots (`.` or `%2e`) has.
fn dots(mut segment: &str) -> Option<usize> {
    let mut count = 0;
    while !segment.is_empty() {
        let encoded = segment.get(..3).is_some_and(|part| part.eq_ignore_ascii_case("%2e"));
        segment = if encoded {
            &segment[3..]
        } else {
            segment.strip_prefix('.')?
        };
        count += 1;
    }
    (count > 0).then_some(count)
}

/// Whether the path has an encoded NUL, which some backends take for the end of the string.
pub fn has_encoded_nul(path: &str) -> bool {
    path.as_bytes().windows(3).any(|three| three == b"%00")
}
