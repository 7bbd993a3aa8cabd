//! The fields that a value has: what an applied configuration owns.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    path::PathElement,
    set::FieldSet,
    shape::{Atom, ListAtom, MapAtom, Relation, TypeRef},
};

/// The set of a value's fields.
///
/// Fields of structs are owned by what is in them; entries of maps and items of lists are owned themselves as well.
/// A list that is merged and has no items has no fields.
pub(super) fn field_set_of(value: &Value, ty: TypeRef) -> FieldSet {
    let mut walk = Walk {
        set: FieldSet::default(),
        path: Vec::new(),
    };
    walk.value(value, ty);
    walk.set
}

struct Walk {
    set: FieldSet,
    path: Vec<PathElement>,
}

impl Walk {
    fn own(&mut self) {
        self.set.insert(&self.path);
    }

    fn value(&mut self, value: &Value, ty: TypeRef) {
        match (ty.atom(Some(value)), value) {
            (Atom::Scalar(_), _) => self.own(),
            (Atom::Map(map), _) if map.atomic => self.own(),
            (Atom::List(list), _) if list.relation == Relation::Atomic => self.own(),
            (Atom::Map(map), Value::Object(fields)) => self.map(fields, map),
            (Atom::List(list), Value::Array(items)) => self.list(items, list),
            _ => {}
        }
    }

    fn map(&mut self, fields: &Map<String, Value>, map: MapAtom) {
        for (name, value) in fields {
            self.path.push(PathElement::Field(name.clone()));
            self.value(value, map.child(name).unwrap_or(TypeRef::Opaque));
            let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
            if empty || !map.names(name) {
                self.own();
            }
            self.path.pop();
        }
    }

    fn list(&mut self, items: &[Value], list: ListAtom) {
        let elements: Vec<_> = items
            .iter()
            .filter_map(|item| Some((list.element(item).ok()?, item)))
            .collect();
        let mut count: BTreeMap<&PathElement, usize> = BTreeMap::new();
        for (element, _) in &elements {
            *count.entry(element).or_default() += 1;
        }
        for (element, item) in &elements {
            self.path.push(element.clone());
            // Of items that are there several times, nothing can be owned apart from the item.
            if count.get(element) == Some(&1) {
                self.value(item, list.items);
            }
            self.own();
            self.path.pop();
        }
    }
}
