//! Merging of lists: objects by their merge key, scalars as sets.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Fields, ListMeta, Parent, StrategicError, directed_field,
    merge_objects,
    order::{self, ItemId, Positions},
    without_directives,
};
use crate::text::{go_type, go_value};

/// Carries out every `$setElementOrder` of a patch, together with the list it is about.
pub(super) fn merge_ordered(doc: &mut Fields, patch: &mut Fields, parent: Parent) -> Result<(), StrategicError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(ELEMENT_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let wanted = list(patch.shift_remove(&directive).unwrap_or_default())?;
        let field = directed_field(&directive, ELEMENT_ORDER).ok_or(StrategicError::ElementOrder)?;
        let new = patch.shift_remove(&field).map(list).transpose()?;
        let old = doc.get(&field).cloned().map(list).transpose()?;
        let meta = ListMeta::of(parent.field(&field)?);
        check_order(new.as_deref().unwrap_or_default(), &wanted, meta.key)?;
        let was = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if meta.merge => merge(old, new, meta)?,
            (Some(_), Some(new)) => new,
        };
        let arranged = order::arrange(merged, &wanted, &was, ItemId { key: meta.key })?;
        doc.insert(field, Value::Array(arranged));
    }
    Ok(())
}

fn list(value: Value) -> Result<Vec<Value>, StrategicError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(StrategicError::NotAList(go_type(&other))),
    }
}

/// The items of the patch must stand in the wanted order, and all be in it.
fn check_order(new: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    if new.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let id = ItemId { key };
    let mut wanted_left = wanted.iter();
    for item in new.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let mut found = false;
        for candidate in wanted_left.by_ref() {
            if id.same(item, candidate)? {
                found = true;
                break;
            }
        }
        if !found {
            let (patch, order) = (go_value(&Value::from(new)), go_value(&Value::from(wanted)));
            return Err(StrategicError::OrderMismatch { patch, order });
        }
    }
    Ok(())
}

/// Merges a list of the patch into an old one.
pub(super) fn merge(old: Vec<Value>, new: Vec<Value>, meta: ListMeta) -> Result<Vec<Value>, StrategicError> {
    check_types(&old, &new)?;
    let of_objects = old.first().or(new.first()).is_some_and(Value::is_object);
    if !of_objects {
        let mut seen = HashSet::with_capacity(old.len() + new.len());
        let all = old.iter().chain(&new).filter(|item| seen.insert(item.to_string()));
        return order::arrange(all.cloned().collect(), &new, &old, ItemId { key: None });
    }
    let key = meta.key.ok_or(StrategicError::NoKeyDeclared)?;
    let id = ItemId { key: Some(key) };
    let Directed { old, new } = carry_out_directives(old, new, key)?;
    let mut merged = old.clone();
    let mut positions = Positions::of(&merged, id);
    for item in &new {
        match positions.find(item)?.and_then(|at| merged.get_mut(at)) {
            Some(found) => *found = merge_item(found.take(), item, meta)?,
            None => {
                positions.insert(item, merged.len())?;
                merged.push(item.clone());
            }
        }
    }
    order::arrange(merged, &new, &old, id)
}

fn merge_item(old: Value, new: &Value, meta: ListMeta) -> Result<Value, StrategicError> {
    match (old, new.clone()) {
        (Value::Object(old), Value::Object(new)) => Ok(Value::Object(merge_objects(old, new, meta.items)?)),
        (_, new) => Ok(new),
    }
}

struct Directed {
    old: Vec<Value>,
    new: Vec<Value>,
}

/// Takes the items with `$patch` out of the patch and does what they say.
fn carry_out_directives(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Result<Directed, StrategicError> {
    let mut plain = Vec::with_capacity(new.len());
    let mut gone = HashSet::new();
    let mut replace = false;
    for item in new {
        match item.get(DIRECTIVE).map(Value::as_str) {
            None => plain.push(item),
            Some(Some("delete")) => {
                let value = item.get(key).ok_or_else(|| StrategicError::no_key(&item, key))?;
                gone.insert(value.to_string());
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => return Err(StrategicError::MergeDirective),
            Some(_) => {
                let (directive, map) = (go_value(&item[DIRECTIVE]), go_value(&item));
                return Err(StrategicError::Directive { directive, map });
            }
        }
    }
    if replace {
        return Ok(Directed {
            old: plain,
            new: Vec::new(),
        });
    }
    if !gone.is_empty() {
        old.retain(|candidate| {
            candidate
                .get(key)
                .is_none_or(|value| !gone.contains(&value.to_string()))
        });
    }
    Ok(Directed { old, new: plain })
}

fn check_types(old: &[Value], new: &[Value]) -> Result<(), StrategicError> {
    let mut items = old.iter().chain(new);
    let Some(first) = items.next() else {
        return Ok(());
    };
    if first.is_array() {
        return Err(StrategicError::ListOfLists);
    }
    let kind = |value: &Value| std::mem::discriminant(value);
    if items.any(|item| kind(item) != kind(first)) {
        return Err(StrategicError::ElementTypes(format!(
            "[{} {}]",
            go_value(&old.into()),
            go_value(&new.into())
        )));
    }
    Ok(())
}

/// Carries out `$deleteFromPrimitiveList/f`.
pub(super) fn delete_items(doc: &mut Fields, directive: &str, gone: &Value) -> Result<(), StrategicError> {
    let field = directed_field(directive, DELETE_FROM_LIST).ok_or(StrategicError::DeleteFromList)?;
    if gone.is_null() {
        doc.shift_remove(&field);
    } else if let (Some(Value::Array(items)), Value::Array(gone)) = (doc.get_mut(&field), gone) {
        let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
        items.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}
