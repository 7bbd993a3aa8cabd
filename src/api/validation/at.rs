//! A place in an object: a value and the path to it, so that every error names its field.

use apimachinery::{
    Object,
    field::{self, FieldError},
};
use serde_json::Value;

use crate::json;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct At<'a> {
    /// The value; null if there is none.
    pub(crate) value: &'a Value,
    /// Where it stands, as `spec.ports[0]`.
    pub(crate) path: String,
}

impl<'a> At<'a> {
    /// A field of the object itself.
    pub(crate) fn field(object: &'a Object, name: &str) -> Self {
        Self {
            value: &object[name],
            path: name.to_owned(),
        }
    }

    /// Any value at any path.
    pub(crate) fn new(value: &'a Value, path: impl Into<String>) -> Self {
        Self {
            value,
            path: path.into(),
        }
    }

    /// A field of the value.
    pub(crate) fn key(&self, name: &str) -> Self {
        Self {
            value: &self.value[name],
            path: format!("{}.{name}", self.path),
        }
    }

    /// An entry of the map.
    pub(crate) fn entry(&self, key: &str) -> Self {
        Self {
            value: &self.value[key],
            path: format!("{}[{key}]", self.path),
        }
    }

    /// An item of the list.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self {
            value: &self.value[index],
            path: format!("{}[{index}]", self.path),
        }
    }

    /// The items of the list; none if it is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        let list = json::items(self.value).iter().enumerate();
        list.map(move |(index, value)| At {
            value,
            path: format!("{path}[{index}]"),
        })
    }

    /// The entries of the map, in order of keys as Go visits them when it prints; none if it is no map.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let mut keys: Vec<&str> = json::entries(self.value).map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        let (value, path) = (self.value, self.path.clone());
        keys.into_iter().map(move |key| {
            (
                key,
                At {
                    value: &value[key],
                    path: format!("{path}[{key}]"),
                },
            )
        })
    }

    /// The string, or the empty one.
    pub(crate) fn text(&self) -> &'a str {
        json::text(self.value)
    }

    /// The whole number, or 0.
    pub(crate) fn int(&self) -> i64 {
        json::int(self.value)
    }

    /// The truth value, or false.
    pub(crate) fn flag(&self) -> bool {
        json::flag(self.value)
    }

    /// Number of items or entries.
    pub(crate) fn len(&self) -> usize {
        json::len(self.value)
    }

    /// Whether Go would see something else than nil.
    pub(crate) fn is_set(&self) -> bool {
        !json::absent(self.value)
    }

    /// Whether Go would see an empty string, list or map, or nil.
    pub(crate) fn is_empty(&self) -> bool {
        json::empty(self.value)
    }

    /// The value is missing.
    pub(crate) fn required(&self, detail: &str) -> FieldError {
        field::required(self.path.as_str(), detail)
    }

    /// The value is not acceptable.
    pub(crate) fn invalid(&self, detail: &str) -> FieldError {
        field::invalid(self.path.as_str(), self.value, detail)
    }

    /// The value, shown differently, is not acceptable.
    pub(crate) fn invalid_value(&self, value: &Value, detail: &str) -> FieldError {
        field::invalid(self.path.as_str(), value, detail)
    }

    /// The value is not one of a set.
    pub(crate) fn not_supported(&self, supported: &[&str]) -> FieldError {
        field::not_supported(self.path.as_str(), self.value, supported)
    }

    /// The value may not be set.
    pub(crate) fn forbidden(&self, detail: &str) -> FieldError {
        field::forbidden(self.path.as_str(), detail)
    }

    /// The value is there twice.
    pub(crate) fn duplicate(&self) -> FieldError {
        field::duplicate(self.path.as_str(), self.value)
    }

    /// What the value names is not there.
    pub(crate) fn not_found(&self) -> FieldError {
        field::not_found(self.path.as_str(), &Value::from(self.text()))
    }

    /// The value is too long.
    pub(crate) fn too_long(&self, max: usize) -> FieldError {
        field::too_long(self.path.as_str(), max)
    }
}
