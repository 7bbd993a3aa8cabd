//! Delete: at once, or by marking what finalizers and grace periods keep.

use apimachinery::{
    Object,
    field::{self, ErrorList},
    status::{Status, StatusDetails},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Registry, Resource, codec, metadata, update::is_finished, write::with_version};
use crate::{admission, authn::UserInfo, errors, request::Query};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What becomes of the objects it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

/// What an object must still be for a deletion to go ahead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Uid it must have.
    pub uid: Option<String>,
    /// Version it must have.
    pub resource_version: Option<String>,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds the object may take to end; `None` leaves it to the kind.
    pub grace_period_seconds: Option<i64>,
    /// Dependents; `None` leaves it to the kind and its finalizers.
    pub propagation: Option<Propagation>,
    /// What the object must still be.
    pub preconditions: Preconditions,
    /// Whether everything is done but the deleting.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads options from the body, or from the query where there is no body.
    ///
    /// # Errors
    /// 400 for a body that is none, 422 for values out of range.
    pub fn parse(body: Option<&Object>, query: &Query) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        let text = |key: &str| match body {
            Some(body) => body.get(key).and_then(Value::as_str).map(str::to_owned),
            None => query.get(key).map(str::to_owned),
        };
        let policy = text("propagationPolicy").filter(|p| !p.is_empty());
        let mut propagation = match policy.as_deref() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let allowed = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(field::not_supported("propagationPolicy", &other.into(), &allowed));
                None
            }
        };
        let orphan = match body {
            Some(body) => body.get("orphanDependents").and_then(Value::as_bool),
            None => query.optional_flag("orphanDependents"),
        };
        if let Some(orphan) = orphan {
            if policy.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(field::invalid(
                    "propagationPolicy",
                    &policy.clone().unwrap_or_default().into(),
                    why,
                ));
            }
            propagation = Some(if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            });
        }
        let grace_period_seconds = match body {
            Some(body) => body.get("gracePeriodSeconds").and_then(Value::as_i64),
            None => query.number("gracePeriodSeconds")?,
        };
        let precondition = |key: &str| {
            body.and_then(|b| b.pointer(&format!("/preconditions/{key}")))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let listed = body.and_then(|b| b.get("dryRun")).and_then(Value::as_array);
        let dry_run = match listed {
            Some(list) => crate::request::options::parse_dry_run(list.iter().filter_map(Value::as_str), &mut errors),
            None => crate::request::options::parse_dry_run(query.all("dryRun"), &mut errors),
        };
        if !errors.is_empty() {
            return Err(field::to_status("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        Ok(Self {
            grace_period_seconds,
            propagation,
            preconditions: Preconditions {
                uid: precondition("uid"),
                resource_version: precondition("resourceVersion"),
            },
            dry_run,
        })
    }
}

/// How a deletion came out.
pub enum Deleted {
    /// The object is gone; this is its last version, as served.
    Gone(Object),
    /// It is marked, and goes when its finalizers and its grace period are over.
    Marked(Object),
}

/// One deletion.
pub struct Delete<'a> {
    /// The resource, as addressed.
    pub resource: &'a Resource,
    /// Namespace; empty if none.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Options.
    pub options: &'a DeleteOptions,
    /// Who.
    pub user: &'a UserInfo,
    /// When.
    pub now: Timestamp,
}

impl Registry {
    /// Deletes an object, or marks it for deletion.
    ///
    /// # Errors
    /// 403, 404, 409 as kube-apiserver answers them.
    pub async fn delete(&self, delete: &Delete<'_>) -> Result<Deleted, Status> {
        let resource = delete.resource;
        admission::validate_delete(resource, delete.name)?;
        loop {
            let found = self.get(resource, delete.namespace, delete.name).await?;
            let old = codec::decode(&found)?;
            check_preconditions(delete, &old)?;
            let mut object = old.clone();
            let marked = mark(delete, &mut object);
            let outcome = if marked && !is_finished(resource, &object) {
                if super::write::same(&object, &old) {
                    let mut object = old;
                    resource.to_served(&mut object);
                    return Ok(Deleted::Marked(object));
                }
                if delete.options.dry_run {
                    resource.to_served(&mut object);
                    return Ok(Deleted::Marked(object));
                }
                let bytes = codec::encode(&object)?;
                let stored = self
                    .storage
                    .update(&found.key, bytes, found.modified, resource.ttl)
                    .await;
                stored.map(|stored| Deleted::Marked(with_version(object, stored.modified.0)))
            } else if delete.options.dry_run {
                Ok(Deleted::Gone(old))
            } else {
                self.storage
                    .delete(&found.key, found.modified)
                    .await
                    .map(|_| Deleted::Gone(old))
            };
            match outcome {
                Ok(Deleted::Marked(mut object)) => {
                    resource.to_served(&mut object);
                    return Ok(Deleted::Marked(object));
                }
                Ok(Deleted::Gone(mut object)) => {
                    finish(delete, &mut object);
                    if !delete.options.dry_run {
                        admission::deleted(self, resource, &object);
                    }
                    resource.to_served(&mut object);
                    return Ok(Deleted::Gone(object));
                }
                Err(storage::Error::Conflict { .. }) => {}
                Err(error) => return Err(errors::of_storage(resource, delete.name, &error)),
            }
        }
    }
}

/// Refuses a deletion of something that is not, or no longer, what was meant.
///
/// # Errors
/// 409.
pub(crate) fn check_preconditions(delete: &Delete<'_>, object: &Object) -> Result<(), Status> {
    // Of deletions the message names the kind, not the resource.
    let wrong = |what: &str, wanted: &str, is: &str| {
        if delete.resource.def.kind == "Namespace" {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
            return Err(errors::conflict(delete.resource, delete.name, &why));
        }
        let kind = delete.resource.stored.kind;
        let group = delete.resource.stored.group;
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let text = format!(
            "Operation cannot be fulfilled on {qualified} \"{}\": the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object might have been {}",
            delete.name,
            if what == "UID" {
                "deleted and then recreated"
            } else {
                "modified"
            }
        );
        let details = StatusDetails {
            name: delete.name.into(),
            group: group.into(),
            kind: kind.into(),
            ..StatusDetails::default()
        };
        Err(Status::failure(409, "Conflict", text).with_details(details))
    };
    let (uid, version) = (metadata::text(object, "uid"), metadata::text(object, "resourceVersion"));
    if let Some(wanted) = delete
        .options
        .preconditions
        .uid
        .as_deref()
        .filter(|wanted| *wanted != uid)
    {
        return wrong("UID", wanted, uid);
    }
    if let Some(wanted) = delete
        .options
        .preconditions
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        return wrong("ResourceVersion", wanted, version);
    }
    Ok(())
}

/// Sets what a deletion leaves on the object while it lives on. False if it can go at once.
fn mark(delete: &Delete<'_>, object: &mut Object) -> bool {
    let kind = delete.resource.stored;
    set_dependents_finalizers(delete, object);
    let grace = kind.strategy.grace_period(object, delete.options.grace_period_seconds);
    let waits = !metadata::finalizers(object).is_empty()
        || grace.is_some_and(|seconds| seconds > 0)
        || (kind.kind == "Namespace"
            && object
                .pointer("/spec/finalizers")
                .and_then(Value::as_array)
                .is_some_and(|f| !f.is_empty()));
    let already = metadata::is_deleting(object);
    if !waits && !already {
        return false;
    }
    let seconds = grace.unwrap_or(0).max(0);
    let now = delete.now;
    let metadata = metadata::of_mut(object);
    if already {
        // A second deletion can only shorten what is left.
        let left = metadata
            .get("deletionGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if seconds < left && (delete.options.grace_period_seconds.is_some()) {
            set_deletion(metadata, now, seconds);
        }
    } else {
        set_deletion(metadata, now, seconds);
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g > 0) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        if kind.kind == "Namespace" {
            // Namespaces know no grace.
            metadata.shift_remove("deletionGracePeriodSeconds");
            object["status"]["phase"] = "Terminating".into();
        }
    }
    codec::normalize(object);
    true
}

fn set_deletion(metadata: &mut serde_json::Map<String, Value>, now: Timestamp, seconds: i64) {
    let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    metadata.insert("deletionTimestamp".into(), metadata::timestamp(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), seconds.into());
}

/// What went at once although its kind, which is Pod alone, has a grace period says so: it was given none.
fn finish(delete: &Delete<'_>, object: &mut Object) {
    if delete.resource.stored.kind != "Pod" {
        return;
    }
    let deleting = metadata::is_deleting(object);
    let metadata = metadata::of_mut(object);
    if !deleting {
        set_deletion(metadata, delete.now, 0);
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g > 0) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    codec::normalize(object);
}

fn set_dependents_finalizers(delete: &Delete<'_>, object: &mut Object) {
    let old: Vec<String> = metadata::finalizers(object).into_iter().map(str::to_owned).collect();
    let has = |name: &str| old.iter().any(|f| f == name);
    let (orphan, foreground) = match delete.options.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        // What an earlier deletion asked for stays; else the kind's default counts.
        None if has(ORPHAN) || has(FOREGROUND) => (has(ORPHAN), has(FOREGROUND)),
        None => (delete.resource.stored.orphans_by_default, false),
    };
    let mut all: Vec<Value> = old
        .iter()
        .filter(|f| *f != ORPHAN && *f != FOREGROUND)
        .map(|f| f.clone().into())
        .collect();
    if orphan {
        all.push(ORPHAN.into());
    }
    if foreground {
        all.push(FOREGROUND.into());
    }
    let metadata = metadata::of_mut(object);
    if all.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), all.into());
    }
}

/// The `Status` that answers a deletion that was done at once.
#[must_use]
pub fn success(resource: &Resource, object: &Object) -> Object {
    let details = StatusDetails {
        name: metadata::text(object, "name").into(),
        group: resource.def.group.into(),
        kind: resource.def.resource.into(),
        uid: metadata::text(object, "uid").into(),
        ..StatusDetails::default()
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
