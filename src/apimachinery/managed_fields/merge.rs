//! Merges an applied configuration into an object.
//!
//! The configuration wins wherever it says something. Lists that are merged keep the order of the configuration for
//! its items, and the others where they stood relative to those that both have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::{
    path::PathElement,
    shape::{Atom, ItemError, ListAtom, MapAtom, Relation, TypeRef},
};

type Side<'a> = Option<&'a Value>;

/// Merges `config` into `live`, both of a type.
pub(super) fn merge(live: &Value, config: &Value, ty: TypeRef) -> Result<Value, ItemError> {
    Ok(merge_value(Some(live), Some(config), ty)?.unwrap_or(Value::Null))
}

/// `None`: nothing is left, and nothing is to be written.
fn merge_value(live: Side<'_>, config: Side<'_>, ty: TypeRef) -> Result<Option<Value>, ItemError> {
    let ours = || config.or(live).cloned();
    match ty.atom(config.or(live)) {
        Atom::Scalar(_) => Ok(ours()),
        Atom::Map(map) => {
            let (live_map, config_map) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            let empty = live_map.is_none_or(Map::is_empty) && config_map.is_none_or(Map::is_empty);
            if map.atomic || empty {
                Ok(ours())
            } else {
                merge_map(live_map, config_map, map)
            }
        }
        Atom::List(list) => {
            let (live_list, config_list) = (live.and_then(Value::as_array), config.and_then(Value::as_array));
            let empty = live_list.is_none_or(Vec::is_empty) && config_list.is_none_or(Vec::is_empty);
            if list.relation == Relation::Atomic || empty {
                return Ok(ours());
            }
            let merged = merge_list(
                live_list.map_or(&[], Vec::as_slice),
                config_list.map_or(&[], Vec::as_slice),
                list,
            )?;
            Ok((!merged.is_empty()).then_some(Value::Array(merged)))
        }
    }
}

fn merge_map(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    map: MapAtom,
) -> Result<Option<Value>, ItemError> {
    let in_live = |name: &str| live.and_then(|live| live.get(name));
    let in_config = |name: &str| config.and_then(|config| config.get(name));
    let only_config = config
        .into_iter()
        .flat_map(Map::keys)
        .filter(|name| in_live(name).is_none());
    let mut merged = Map::new();
    for name in live.into_iter().flat_map(Map::keys).chain(only_config) {
        let ty = map.child(name).unwrap_or(TypeRef::Opaque);
        if let Some(value) = merge_value(in_live(name), in_config(name), ty)? {
            merged.insert(name.clone(), value);
        }
    }
    Ok((!merged.is_empty()).then_some(Value::Object(merged)))
}

/// The items of a list and their path elements.
struct Items<'a> {
    elements: Vec<PathElement>,
    values: BTreeMap<PathElement, Value>,
    raw: &'a [Value],
}

impl<'a> Items<'a> {
    /// Where the same item stands twice, as only stored lists may have it, no single value counts.
    fn of(raw: &'a [Value], list: ListAtom) -> Result<Self, ItemError> {
        let mut values = BTreeMap::new();
        let mut elements = Vec::with_capacity(raw.len());
        for item in raw {
            let element = list.element(item)?;
            values
                .entry(element.clone())
                .and_modify(|value| *value = Value::Null)
                .or_insert_with(|| item.clone());
            elements.push(element);
        }
        Ok(Self { elements, values, raw })
    }

    fn has(&self, element: &PathElement) -> bool {
        self.values.contains_key(element)
    }
}

fn merge_list(live: &[Value], config: &[Value], list: ListAtom) -> Result<Vec<Value>, ItemError> {
    let (live, config) = (Items::of(live, list)?, Items::of(config, list)?);
    // The items that both have, in the order of the configuration: between two of them stand the others.
    let mut shared: VecDeque<&PathElement> = config.elements.iter().filter(|element| live.has(element)).collect();
    let mut merged = Vec::with_capacity(live.elements.len().max(config.elements.len()));
    let mut done = BTreeSet::new();
    let both = |element: &PathElement| merge_value(live.values.get(element), config.values.get(element), list.items);
    let (mut l, mut c) = (0, 0);
    while l < live.elements.len() || c < config.elements.len() {
        if let (Some(of_live), Some(of_config)) = (live.elements.get(l), config.elements.get(c)) {
            if of_live == of_config {
                merged.extend(both(of_live)?);
                done.insert(of_live);
                shared.pop_front();
                (l, c) = (l + 1, c + 1);
                continue;
            }
            if config.has(of_live) && shared.front().is_some_and(|next| *next != of_live) {
                // Out of order: it is written where the configuration has it.
                l += 1;
                continue;
            }
        }
        if let Some(of_live) = live.elements.get(l) {
            if !config.has(of_live) {
                merged.extend(merge_value(live.raw.get(l), None, list.items)?);
                l += 1;
                continue;
            }
            if done.contains(of_live) {
                l += 1;
            }
        }
        if let Some(of_config) = config.elements.get(c) {
            merged.extend(both(of_config)?);
            done.insert(of_config);
            c += 1;
            if shared.front() == Some(&of_config) {
                shared.pop_front();
            }
        }
    }
    Ok(merged)
}
