//! The order of merged lists.
//!
//! Items that the patch (or its `$setElementOrder`) names stand in its order; the others keep the order they had.
//! The two sequences are woven together by the old list where it knows both items, and the patch goes first where
//! it does not.

use std::collections::HashMap;

use serde_json::Value;

use super::StrategicError;

/// How items of a list are told apart: by a key, or by their whole value.
#[derive(Clone, Copy)]
pub(super) struct ItemId<'a> {
    pub(super) key: Option<&'a str>,
}

impl ItemId<'_> {
    pub(super) fn same(&self, a: &Value, b: &Value) -> Result<bool, StrategicError> {
        Ok(self.of(a)? == self.of(b)?)
    }

    fn of<'v>(&self, item: &'v Value) -> Result<&'v Value, StrategicError> {
        match self.key {
            Some(key) => item.get(key).ok_or_else(|| StrategicError::no_key(item, key)),
            None => Ok(item),
        }
    }
}

/// Where the items of a list stand first, so that big lists take no quadratic time.
pub(super) struct Positions<'a> {
    id: ItemId<'a>,
    by_id: HashMap<String, usize>,
}

impl<'a> Positions<'a> {
    /// The positions of a list whose items all have their key; others are left out.
    pub(super) fn of(list: &[Value], id: ItemId<'a>) -> Self {
        let mut by_id = HashMap::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            if let Ok(value) = id.of(item) {
                by_id.entry(value.to_string()).or_insert(at);
            }
        }
        Self { id, by_id }
    }

    /// Where the same item stands.
    ///
    /// # Errors
    /// When the item has no key.
    pub(super) fn find(&self, item: &Value) -> Result<Option<usize>, StrategicError> {
        Ok(self.by_id.get(&self.id.of(item)?.to_string()).copied())
    }

    /// Adds an item that stands at a position.
    pub(super) fn insert(&mut self, item: &Value, at: usize) -> Result<(), StrategicError> {
        self.by_id.entry(self.id.of(item)?.to_string()).or_insert(at);
        Ok(())
    }
}

/// Puts merged items in order, given the order of the patch and the order they had.
///
/// # Errors
/// When an item has no key.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    was: &[Value],
    id: ItemId<'_>,
) -> Result<Vec<Value>, StrategicError> {
    wanted.iter().try_for_each(|item| id.of(item).map(drop))?;
    let (wanted, was) = (Positions::of(wanted, id), Positions::of(was, id));
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let old = was.find(&item)?;
        match wanted.find(&item)? {
            Some(at) => named.push((at, old, item)),
            None => others.push((old, item)),
        }
    }
    named.sort_by_key(|(at, _, _)| *at);
    others.sort_by_key(|(old, _)| *old);
    let named = named.into_iter().map(|(_, old, item)| (old, item)).collect();
    Ok(weave(others, named))
}

type Placed = (Option<usize>, Value);

/// Merges two sequences by where their items were: an item that is not named goes first only if both were there
/// and it stood before.
fn weave(others: Vec<Placed>, named: Vec<Placed>) -> Vec<Value> {
    let mut woven = Vec::with_capacity(others.len() + named.len());
    let (mut others, mut named) = (others.into_iter().peekable(), named.into_iter().peekable());
    while let (Some((other, _)), Some((next, _))) = (others.peek(), named.peek()) {
        let before = other.zip(*next).is_some_and(|(other, next)| other < next);
        woven.extend(if before { others.next() } else { named.next() });
    }
    woven
        .into_iter()
        .chain(others)
        .chain(named)
        .map(|(_, item)| item)
        .collect()
}
