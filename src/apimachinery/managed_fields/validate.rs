//! Checks that a configuration fits its type before anything is merged.

use serde_json::{Map, Value};

use crate::text::{go_quote, go_type, go_value};

use super::{
    path::PathElement,
    shape::{Atom, ListAtom, MapAtom, Relation, ScalarKind, TypeRef},
};

/// What is wrong with a value, with kube's words, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeError {
    path: String,
    message: String,
}

/// All errors in the form that kube gives them.
pub(super) fn joined(errors: &[TypeError]) -> String {
    let shown = |error: &TypeError| match error.path.as_str() {
        "" => error.message.clone(),
        path => format!("{path}: {}", error.message),
    };
    match errors {
        [one] => shown(one),
        many => std::iter::once("errors:".to_owned())
            .chain(many.iter().map(|error| format!("  {}", shown(error))))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// Errors of a value of a type; lists of a stored object may have the same item twice.
pub(super) fn check(value: &Value, ty: TypeRef, allow_duplicates: bool) -> Vec<TypeError> {
    let mut checker = Checker {
        allow_duplicates,
        path: String::new(),
        errors: Vec::new(),
    };
    checker.value(value, ty);
    checker.errors
}

struct Checker {
    allow_duplicates: bool,
    path: String,
    errors: Vec<TypeError>,
}

impl Checker {
    fn error(&mut self, message: impl Into<String>) {
        self.errors.push(TypeError {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    fn inside(&mut self, element: &PathElement, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&element.to_string());
        check(self);
        self.path.truncate(length);
    }

    fn value(&mut self, value: &Value, ty: TypeRef) {
        if value.is_null() {
            return;
        }
        match (ty.atom(Some(value)), value) {
            (Atom::Map(map), Value::Object(fields)) => self.map(fields, map),
            (Atom::List(list), Value::Array(items)) => self.list(items, list),
            (Atom::Map(_), other) => self.error(format!("expected map, got &{{{}}}", go_value(other))),
            (Atom::List(_), other) => self.error(format!("expected list, got &{{{}}}", go_value(other))),
            (Atom::Scalar(kind), other) => self.scalar(other, kind),
        }
    }

    fn scalar(&mut self, value: &Value, kind: ScalarKind) {
        let shown = || format!("&{{{}}}", go_value(value));
        match (kind, value) {
            (ScalarKind::String, Value::String(_))
            | (ScalarKind::Number, Value::Number(_))
            | (ScalarKind::Bool, Value::Bool(_))
            | (ScalarKind::Any, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
            (ScalarKind::Number, other) => {
                self.error(format!("expected numeric (int or float), got {}", go_type(other)));
            }
            (ScalarKind::String, _) => {
                self.error(format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    go_syntax(value)
                ));
            }
            (ScalarKind::Bool, _) => self.error(format!("expected boolean, got {}", shown())),
            (ScalarKind::Any, _) => self.error(format!("expected any scalar, got {}", shown())),
        }
    }

    fn map(&mut self, fields: &Map<String, Value>, map: MapAtom) {
        for (name, value) in fields {
            let element = PathElement::Field(name.clone());
            match map.child(name) {
                Some(ty) => self.inside(&element, |checker| checker.value(value, ty)),
                None => {
                    self.inside(&element, |checker| checker.error("field not declared in schema"));
                    return;
                }
            }
        }
    }

    fn list(&mut self, items: &[Value], list: ListAtom) {
        let mut seen = std::collections::BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = if list.relation == Relation::Atomic {
                PathElement::Index(i64::try_from(i).unwrap_or(i64::MAX))
            } else {
                match list.element(item) {
                    Ok(element) => element,
                    Err(error) => return self.error(format!("element {i}: {error}")),
                }
            };
            if !seen.insert(element.clone()) && !self.allow_duplicates {
                self.error(format!("duplicate entries for key {element}"));
            }
            self.inside(&element, |checker| checker.value(item, list.items));
        }
    }
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Array(items) => {
            format!(
                "[]interface {{}}{{{}}}",
                items.iter().map(go_syntax).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", go_quote(key), go_syntax(value)));
            format!(
                "map[string]interface {{}}{{{}}}",
                entries.collect::<Vec<_>>().join(", ")
            )
        }
        Value::Null => "interface {}(nil)".to_owned(),
        other => other.to_string(),
    }
}
