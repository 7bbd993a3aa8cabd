//! Tracking of writes that are not server-side apply: create, update and the other patches.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    compare::Comparison,
    empty_object,
    managers::{Manager, Managers, Operation, Owned},
    shape::{TypeRef, same},
    system_fields::{reset_fields, system_fields},
    without_managed_fields,
};
use crate::{Object, meta};

/// Updaters that are told apart; older ones are merged into one.
const UPDATERS_MAX: usize = 10;

/// A write that is not an apply.
#[derive(Debug, Clone, Copy)]
pub struct UpdateRequest<'a> {
    /// The stored object in the version of the request; `None` if the write creates it.
    pub live: Option<&'a Object>,
    /// The field manager; empty is `unknown`.
    pub manager: &'a str,
    /// The subresource; empty for the main resource.
    pub subresource: &'a str,
    /// The object's type in the schema table. Types that are not there are taken as their values look.
    pub type_name: &'a str,
    /// The current time, to the second.
    pub now: Timestamp,
}

/// Sets the managed fields of an object about to be written, by what it changes.
///
/// Managed fields that the client sends are taken as they are, unless they are unreadable; an empty list (or one
/// empty entry) gives all ownership up, and the object is then not tracked until it is applied.
pub fn track_update(new: &mut Object, request: &UpdateRequest<'_>) {
    let mut managers = starting_point(new, request);
    meta::remove(new, "managedFields");
    if managers.0.is_empty() && request.live.is_some() {
        return;
    }
    let version = meta::api_version(new).to_owned();
    let manager = Manager::new(request.manager, Operation::Update, &version, request.subresource);
    let live = request
        .live
        .map_or_else(|| empty_object(new, request.type_name), without_managed_fields);
    let reset = reset_fields(request.type_name, request.subresource);
    let change = Comparison::of(&live, new, TypeRef::of_type(request.type_name)).without(&reset);
    record(&mut managers, manager, &change, request.now);
    managers.cap_updaters(UPDATERS_MAX);
    managers.write(new);
}

/// Puts the empty list of managed fields back that a client sent, and that the canonical form leaves out: by it the
/// client gives all ownership up. To be called between decoding an object and [`track_update`].
pub fn keep_reset(sent: &Object, decoded: &mut Object) {
    let list = sent
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"))
        .and_then(Value::as_array);
    if list.is_some_and(Vec::is_empty) {
        meta::set(decoded, "managedFields", Vec::<Value>::new());
    }
}

/// Gives a manager what a change sets, and takes it from the others.
pub(super) fn record(managers: &mut Managers, manager: Manager, change: &Comparison, now: Timestamp) {
    let writer = Manager {
        name: String::new(),
        ..manager.clone()
    };
    // Forced, so that there are no conflicts; the manager's own entry yields as well and gets it back below.
    let yielded = managers.yield_to(&writer, change, true);
    debug_assert!(yielded.is_ok(), "a forced change has no conflicts");
    let set = change.set().difference(system_fields());
    if !set.is_empty() {
        let fresh = Owned {
            api_version: manager.api_version.clone(),
            fields: Default::default(),
            time: None,
        };
        let owned = managers.0.entry(manager).or_insert(fresh);
        owned.fields.extend(&set);
        owned.time = Some(now);
    }
}

fn starting_point(new: &Object, request: &UpdateRequest<'_>) -> Managers {
    let of_live = || {
        request
            .live
            .and_then(|live| Managers::of(live).ok())
            .unwrap_or_default()
    };
    let entries = new
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"))
        .and_then(Value::as_array);
    let entries = match entries {
        Some(entries) if request.subresource.is_empty() => entries,
        _ => return of_live(),
    };
    let reset = match entries.as_slice() {
        [] => true,
        [Value::Object(only)] => only.is_empty(),
        _ => false,
    };
    if reset {
        return Managers::default();
    }
    Managers::decode(entries)
        .ok()
        .filter(|managers| !managers.0.is_empty())
        .unwrap_or_else(of_live)
}

/// Takes the times of the old managed fields over if nothing but times differs, so that the write is none.
pub fn keep_times_if_unchanged(new: &mut Object, old: &Object) {
    let entries = |object: &Object| meta::get(object, "managedFields").cloned().unwrap_or_default();
    let timeless = |entries: &Value| {
        let mut entries = entries.clone();
        for entry in entries.as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.shift_remove("time");
            }
        }
        entries
    };
    let (new_entries, old_entries) = (entries(new), entries(old));
    if new_entries != old_entries
        && same(&timeless(&new_entries), &timeless(&old_entries))
        && same(&without_managed_fields(new), &without_managed_fields(old))
    {
        meta::set(new, "managedFields", old_entries);
    }
}
