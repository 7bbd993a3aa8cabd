//! Paths of fields: how ownership names a place in an object.

use std::{cmp::Ordering, fmt};

use serde_json::Value;

use crate::text::go_quote;

/// A scalar in a path, ordered and compared as numbers, texts and booleans are.
#[derive(Debug, Clone)]
pub struct Scalar(pub Value);

impl Scalar {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            // Lists and maps never stand in paths that the server makes; any total order will do.
            (a, b) => self
                .rank()
                .cmp(&other.rank())
                .then_with(|| a.to_string().cmp(&b.to_string())),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

fn compare_numbers(a: &serde_json::Number, b: &serde_json::Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a
            .as_f64()
            .unwrap_or(f64::NAN)
            .total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => f.write_str(&go_quote(text)),
            other => write!(f, "{other}"),
        }
    }
}

/// One step of a path. The order is that of serialised field sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of a struct or an entry of a map.
    Field(String),
    /// The item of a list that has these keys, sorted by name.
    Key(Vec<(String, Scalar)>),
    /// The item of a set that is this value.
    Value(Scalar),
    /// The item at this position. The server never makes these, but reads them.
    Index(i64),
}

impl PathElement {
    /// Reads the form that managed fields have: `f:name`, `k:{…}`, `v:…`, `i:…`. `None` if it is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "v" => Some(Self::Value(Scalar(serde_json::from_str(rest).ok()?))),
            "i" => Some(Self::Index(rest.parse().ok()?)),
            "k" => {
                let keys: serde_json::Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut keys: Vec<_> = keys.into_iter().map(|(name, value)| (name, Scalar(value))).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Some(Self::Key(keys))
            }
            _ => None,
        }
    }

    /// The form that managed fields have.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(Scalar(value)) => format!("v:{value}"),
            Self::Index(at) => format!("i:{at}"),
            Self::Key(keys) => {
                let keys = keys
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect();
                format!("k:{}", Value::Object(keys))
            }
        }
    }
}

impl fmt::Display for PathElement {
    /// The form that messages have: `.name`, `[name="x"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(at) => write!(f, "[{at}]"),
            Self::Key(keys) => {
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
        }
    }
}

/// A path from the root of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl Path {
    /// A path of fields.
    #[must_use]
    pub fn of_fields(names: &[&str]) -> Self {
        Self(
            names
                .iter()
                .map(|name| PathElement::Field((*name).to_owned()))
                .collect(),
        )
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_and_written_alike() {
        for (text, shown) in [
            ("f:replicas", ".replicas"),
            ("f:example.com/a:b", ".example.com/a:b"),
            ("f:", "."),
            (r#"k:{"name":"x"}"#, r#"[name="x"]"#),
            (
                r#"k:{"containerPort":80,"protocol":"TCP"}"#,
                r#"[containerPort=80,protocol="TCP"]"#,
            ),
            (r#"v:"a""#, r#"[="a"]"#),
            ("v:1", "[=1]"),
            ("i:3", "[3]"),
        ] {
            let element = PathElement::parse(text).unwrap();
            assert_eq!(element.encode(), text);
            assert_eq!(element.to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_no_elements() {
        for text in ["", "x", "x:1", "k:1", "k:{", "v:", "i:x"] {
            assert_eq!(PathElement::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_equal_whatever_they_are_written_as() {
        assert_eq!(PathElement::parse("v:1"), PathElement::parse("v:1.0"));
        assert_eq!(
            PathElement::parse(r#"k:{"b":1,"a":2}"#),
            PathElement::parse(r#"k:{"a":2,"b":1}"#)
        );
    }

    #[test]
    fn fields_come_before_keys_and_keys_before_values() {
        let mut texts = ["v:1", "i:0", r#"k:{"a":1}"#, "f:b", "f:a", "v:\"x\""];
        texts.sort_by_key(|text| PathElement::parse(text).unwrap());
        assert_eq!(texts, ["f:a", "f:b", r#"k:{"a":1}"#, "v:1", "v:\"x\"", "i:0"]);
    }
}
