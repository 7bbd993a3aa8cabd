//! The order of merged lists.
//!
//! Items that the patch (or its `$setElementOrder`) names stand in its order; the others keep the order they had.
//! The two sequences are woven together by the old list where it knows both items, and the patch goes first where
//! it does not.

use serde_json::Value;

use super::StrategicError;

/// How items of a list are told apart: by a key, or by their whole value.
#[derive(Clone, Copy)]
pub(super) struct ItemId<'a> {
    pub(super) key: Option<&'a str>,
}

impl ItemId<'_> {
    fn of<'v>(&self, item: &'v Value) -> Option<&'v Value> {
        match self.key {
            Some(key) => item.get(key),
            None => Some(item),
        }
    }

    pub(super) fn same(&self, a: &Value, b: &Value) -> Result<bool, StrategicError> {
        Ok(self.required(a)? == self.required(b)?)
    }

    fn required<'v>(&self, item: &'v Value) -> Result<&'v Value, StrategicError> {
        self.of(item)
            .ok_or_else(|| StrategicError::no_key(item, self.key.unwrap_or_default()))
    }

    /// Every item must have its key.
    pub(super) fn require(&self, items: &[Value]) -> Result<(), StrategicError> {
        items.iter().try_for_each(|item| self.required(item).map(drop))
    }

    fn position(&self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|candidate| self.of(candidate) == self.of(item))
    }
}

/// Puts merged items in order, given the order of the patch and the order they had.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], was: &[Value], id: ItemId<'_>) -> Vec<Value> {
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| id.position(wanted, item).is_some());
    named.sort_by_key(|item| id.position(wanted, item));
    others.sort_by_key(|item| id.position(was, item));
    weave(others, named, was, id)
}

fn weave(others: Vec<Value>, named: Vec<Value>, was: &[Value], id: ItemId<'_>) -> Vec<Value> {
    let mut woven = Vec::with_capacity(others.len() + named.len());
    let (mut others, mut named) = (others.into_iter().peekable(), named.into_iter().peekable());
    while let (Some(other), Some(next)) = (others.peek(), named.peek()) {
        let before = id
            .position(was, other)
            .zip(id.position(was, next))
            .is_some_and(|(a, b)| a < b);
        woven.extend(if before { others.next() } else { named.next() });
    }
    woven.extend(others.chain(named));
    woven
}
