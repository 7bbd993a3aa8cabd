//! What changed between two objects, as sets of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    path::PathElement,
    set::FieldSet,
    shape::{Atom, ListAtom, MapAtom, Relation, TypeRef, same},
};

/// The fields by which a new object differs from an old one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Fields that only the new one has.
    pub(super) added: FieldSet,
    /// Fields that both have with different values.
    pub(super) modified: FieldSet,
    /// Fields that only the old one has.
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Compares two objects of a type.
    pub(super) fn of(old: &Value, new: &Value, ty: TypeRef) -> Self {
        let mut walk = Walk {
            found: Self::default(),
            path: Vec::new(),
        };
        walk.value(Some(old), Some(new), ty);
        walk.found
    }

    /// The same without fields that do not count, and what is below them.
    pub(super) fn without(self, ignored: &FieldSet) -> Self {
        Self {
            added: self.added.without(ignored),
            modified: self.modified.without(ignored),
            removed: self.removed.without(ignored),
        }
    }

    /// The fields that the new object has or has differently.
    pub(super) fn set(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

struct Walk {
    found: Comparison,
    path: Vec<PathElement>,
}

type Side<'a> = Option<&'a Value>;

impl Walk {
    /// Compares at a path; one side at least is there.
    fn value(&mut self, old: Side<'_>, new: Side<'_>, ty: TypeRef) {
        let (old_atom, new_atom) = (ty.atom(old), ty.atom(new));
        let same_atom = std::mem::discriminant(&old_atom) == std::mem::discriminant(&new_atom);
        let leaf = match (old, new) {
            (Some(_), None) => self.atom(old_atom, old, new),
            (None, _) => self.atom(new_atom, old, new),
            _ if same_atom => self.atom(new_atom, old, new),
            _ => {
                // A value without a schema that became another kind of value: both ways to see it count.
                self.atom(old_atom, old, new);
                self.atom(new_atom, old, new)
            }
        };
        if !leaf {
            match (old, new) {
                (None, Some(_)) => self.found.added.insert(&self.path),
                (Some(_), None) => self.found.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Compares as what the atom says; tells whether it was one value.
    fn atom(&mut self, atom: Atom, old: Side<'_>, new: Side<'_>) -> bool {
        match atom {
            Atom::Scalar(_) => self.leaf(old, new),
            Atom::Map(map) => {
                let (old_map, new_map) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let empty = old_map.is_none_or(Map::is_empty) && new_map.is_none_or(Map::is_empty);
                if map.atomic || empty {
                    return self.leaf(old, new);
                }
                self.map(old_map, new_map, map);
                false
            }
            Atom::List(list) => {
                let (old_list, new_list) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
                let empty = old_list.is_none_or(Vec::is_empty) && new_list.is_none_or(Vec::is_empty);
                if list.relation == Relation::Atomic || empty {
                    return self.leaf(old, new);
                }
                self.list(
                    old_list.map_or(&[], Vec::as_slice),
                    new_list.map_or(&[], Vec::as_slice),
                    list,
                );
                false
            }
        }
    }

    fn leaf(&mut self, old: Side<'_>, new: Side<'_>) -> bool {
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (Some(old), Some(new)) if !same(old, new) => self.found.modified.insert(&self.path),
            _ => {}
        }
        true
    }

    fn map(&mut self, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>, map: MapAtom) {
        let in_old = |name: &str| old.and_then(|old| old.get(name));
        let in_new = |name: &str| new.and_then(|new| new.get(name));
        let only_new = new
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| in_old(name).is_none());
        for name in old.into_iter().flat_map(Map::keys).chain(only_new) {
            self.path.push(PathElement::Field(name.clone()));
            self.value(in_old(name), in_new(name), map.child(name).unwrap_or(TypeRef::Opaque));
            self.path.pop();
        }
    }

    fn list(&mut self, old: &[Value], new: &[Value], list: ListAtom) {
        let (old, new) = (by_element(old, list), by_element(new, list));
        let none = Vec::new();
        let only_new = new.keys().filter(|element| !old.contains_key(element));
        for element in old.keys().chain(only_new) {
            let (of_old, of_new) = (old.get(element).unwrap_or(&none), new.get(element).unwrap_or(&none));
            self.path.push(element.clone());
            self.items(of_old, of_new, list.items);
            self.path.pop();
        }
    }

    /// Compares the items of one path element: usually one on a side, several where a list has duplicates.
    fn items(&mut self, old: &[&Value], new: &[&Value], ty: TypeRef) {
        match (old, new) {
            ([] | [_], [] | [_]) => self.value(old.first().copied(), new.first().copied(), ty),
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(new).all(|(a, b)| same(a, b)) {
                    self.found.modified.insert(&self.path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.value(None, Some(new), ty);
                }
                self.found.removed.insert(&self.path);
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    self.value(Some(old), None, ty);
                }
                self.found.added.insert(&self.path);
            }
        }
    }
}

/// A list's items by path element.
fn by_element(items: &[Value], list: ListAtom) -> BTreeMap<PathElement, Vec<&Value>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for item in items {
        if let Ok(element) = list.element(item) {
            found.entry(element).or_default().push(item);
        }
    }
    found
}
