//! Removes fields from an object.

use serde_json::{Map, Value};

use super::{
    path::PathElement,
    set::FieldSet,
    shape::{Atom, ListAtom, MapAtom, Relation, TypeRef},
};

/// The value without the fields of a set. What becomes empty by it stays, as empty.
pub(super) fn remove(value: &Value, gone: &FieldSet, ty: TypeRef) -> Value {
    match (ty.atom(Some(value)), value) {
        (Atom::Map(map), Value::Object(fields)) if !map.atomic => Value::Object(remove_fields(fields, gone, map)),
        (Atom::List(list), Value::Array(items)) if list.relation != Relation::Atomic => {
            Value::Array(remove_items(items, gone, list))
        }
        _ => value.clone(),
    }
}

fn remove_fields(fields: &Map<String, Value>, gone: &FieldSet, map: MapAtom) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in fields {
        let element = PathElement::Field(name.clone());
        if gone.has(&element) {
            continue;
        }
        let ty = map.child(name).unwrap_or(TypeRef::Opaque);
        let value = gone
            .below(&element)
            .map_or_else(|| value.clone(), |gone| remove(value, gone, ty));
        kept.insert(name.clone(), value);
    }
    kept
}

fn remove_items(items: &[Value], gone: &FieldSet, list: ListAtom) -> Vec<Value> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let Ok(element) = list.element(item) else {
            kept.push(item.clone());
            continue;
        };
        if !gone.has(&element) {
            kept.push(
                gone.below(&element)
                    .map_or_else(|| item.clone(), |gone| remove(item, gone, list.items)),
            );
        }
    }
    kept
}

/// A set with the fields of structs that have members below, which field sets of values leave out.
pub(super) fn with_named_fields(set: &FieldSet, ty: Option<TypeRef>) -> FieldSet {
    let mut named = FieldSet::default();
    for (element, node) in set.nodes() {
        let mut node = node.clone();
        let mut child = None;
        match (element, ty.map(|ty| ty.atom(None))) {
            (PathElement::Field(name), Some(Atom::Map(map))) => {
                node.member |= map.names(name) && !node.below.is_empty();
                child = map.child(name);
            }
            (PathElement::Key(_), Some(Atom::List(list))) => child = Some(list.items),
            _ => {}
        }
        node.below = with_named_fields(&node.below, child);
        named.insert_node(element.clone(), node);
    }
    named
}
