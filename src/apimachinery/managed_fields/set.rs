//! Sets of fields: what a manager owns.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::path::{Path, PathElement};

/// A set of paths, as a tree. Owning a path does not mean owning what is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// Is a member itself, has members below, or both; never neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// A set of paths of fields.
    #[must_use]
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&Path::of_fields(path).0);
        }
        set
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path. The empty path, the object itself, cannot be owned and is left out.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => self.nodes.entry(last.clone()).or_default().member = true,
            [first, rest @ ..] => self.nodes.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    /// Whether a path is in it.
    #[must_use]
    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.has(last),
            [first, rest @ ..] => self.below(first).is_some_and(|set| set.contains(rest)),
        }
    }

    /// Whether the path of one element is in it.
    #[must_use]
    pub fn has(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// What is in it below an element; `None` if nothing is.
    #[must_use]
    pub fn below(&self, element: &PathElement) -> Option<&Self> {
        self.nodes
            .get(element)
            .map(|node| &node.below)
            .filter(|set| !set.is_empty())
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&PathElement, &Node)> {
        self.nodes.iter()
    }

    pub(super) fn insert_node(&mut self, element: PathElement, node: Node) {
        if !node.is_empty() {
            self.nodes.insert(element, node);
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.extend(other);
        union
    }

    /// Adds everything of another set.
    pub fn extend(&mut self, other: &Self) {
        for (element, theirs) in &other.nodes {
            let node = self.nodes.entry(element.clone()).or_default();
            node.member |= theirs.member;
            node.below.extend(&theirs.below);
        }
    }

    fn combine(&self, other: &Self, keep: impl Copy + Fn(&Node, Option<&Node>) -> Node) -> Self {
        let mut result = Self::default();
        for (element, node) in &self.nodes {
            result.insert_node(element.clone(), keep(node, other.nodes.get(element)));
        }
        result
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| {
            theirs.map_or_else(Node::default, |theirs| Node {
                member: mine.member && theirs.member,
                below: mine.below.intersection(&theirs.below),
            })
        })
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| {
            theirs.map_or_else(
                || mine.clone(),
                |theirs| Node {
                    member: mine.member && !theirs.member,
                    below: mine.below.difference(&theirs.below),
                },
            )
        })
    }

    /// What is in this and neither in the other nor below anything in it.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| match theirs {
            None => mine.clone(),
            Some(theirs) if theirs.member => Node::default(),
            Some(theirs) => Node {
                member: mine.member,
                below: mine.below.without(&theirs.below),
            },
        })
    }

    /// Every path: of each level first, then of the levels below.
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Path>) {
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            paths.push(Path(prefix.iter().chain([element]).cloned().collect()));
        }
        for (element, node) in &self.nodes {
            prefix.push(element.clone());
            node.below.collect_paths(prefix, paths);
            prefix.pop();
        }
    }

    /// The form that managed fields have (`fieldsV1`).
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.below.encode();
            if let (true, Value::Object(fields)) = (node.member && !node.below.is_empty(), &mut below) {
                fields.shift_insert(0, ".".to_owned(), json!({}));
            }
            map.insert(element.encode(), below);
        }
        Value::Object(map)
    }

    /// Reads the form that managed fields have; what is no path element is left out.
    #[must_use]
    pub fn decode(fields: &Value) -> Self {
        let mut set = Self::default();
        for (key, value) in fields.as_object().into_iter().flatten() {
            if let Some(element) = PathElement::parse(key) {
                let below = Self::decode(value);
                let member = value.get(".").is_some() || below.is_empty();
                set.nodes.insert(element, Node { member, below });
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_encoded_form_is_kubes() {
        let fields = json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:l": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}}, "v:1": {}}});
        let set = FieldSet::decode(&fields);
        assert_eq!(set.encode().to_string(), fields.to_string());
        let paths: Vec<_> = set.paths().iter().map(ToString::to_string).collect();
        assert_eq!(
            paths,
            [".a", ".b", ".b.c", ".l[name=\"x\"]", ".l[=1]", ".l[name=\"x\"].name"]
        );
    }

    #[test]
    fn malformed_field_sets_are_read_as_far_as_possible() {
        assert!(FieldSet::decode(&json!(null)).is_empty());
        assert!(FieldSet::decode(&json!([1])).is_empty());
        let set = FieldSet::decode(&json!({"x": {}, "f:a": 3, "f:b": {"junk": 1}, ".": {}}));
        assert_eq!(set.encode(), json!({"f:a": {}, "f:b": {}}));
    }

    #[test]
    fn without_takes_away_what_is_below_too() {
        let set = FieldSet::of_fields(&[&["spec"], &["spec", "a"], &["status", "b"], &["status"]]);
        let status = FieldSet::of_fields(&[&["status"]]);
        assert_eq!(set.without(&status), FieldSet::of_fields(&[&["spec"], &["spec", "a"]]));
        assert_eq!(
            set.difference(&status),
            FieldSet::of_fields(&[&["spec"], &["spec", "a"], &["status", "b"]])
        );
    }

    fn sets() -> impl Strategy<Value = FieldSet> {
        let path = prop::collection::vec("[abc]", 1..4);
        prop::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            for path in paths {
                set.insert(&Path::of_fields(&path.iter().map(String::as_str).collect::<Vec<_>>()).0);
            }
            set
        })
    }

    proptest! {
        #[test]
        fn sets_survive_encoding(set in sets()) {
            prop_assert_eq!(FieldSet::decode(&set.encode()), set);
        }

        #[test]
        fn difference_and_intersection_split_a_set(a in sets(), b in sets()) {
            let (difference, intersection) = (a.difference(&b), a.intersection(&b));
            prop_assert_eq!(difference.union(&intersection), a.clone());
            prop_assert!(difference.intersection(&b).is_empty());
            prop_assert_eq!(intersection, b.intersection(&a));
            prop_assert_eq!(a.union(&b), b.union(&a));
        }
    }
}
