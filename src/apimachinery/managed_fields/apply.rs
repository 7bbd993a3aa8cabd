//! Server-side apply.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    client_side,
    compare::Comparison,
    conflict::Conflicts,
    empty_object,
    field_set_of::field_set_of,
    managers::{DecodeError, Manager, Managers, Operation, Owned},
    merge::merge,
    remove::{remove, with_named_fields},
    set::FieldSet,
    shape::{TypeRef, same},
    system_fields::{reset_fields, system_fields},
    track, validate, without_managed_fields,
};
use crate::{Object, meta, status::Status};

/// An apply patch and what it is applied to.
#[derive(Debug, Clone, Copy)]
pub struct ApplyRequest<'a> {
    /// The stored object in the version of the request; `None` if the apply creates it.
    pub live: Option<&'a Object>,
    /// The configuration: everything the manager wants to own.
    pub config: &'a Object,
    /// The field manager; required.
    pub manager: &'a str,
    /// Whether fields of others are taken over instead of being conflicts.
    pub force: bool,
    /// The subresource; empty for the main resource.
    pub subresource: &'a str,
    /// The object's type in the schema table. Types that are not there are taken as their values look.
    pub type_name: &'a str,
    /// The current time, to the second.
    pub now: Timestamp,
}

/// Why a configuration was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It would change fields of other managers.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// It is not an apply configuration for this object.
    #[error("{0}")]
    BadRequest(String),
    /// It does not fit the type.
    #[error("{0}")]
    Untypable(String),
    /// The object's managed fields cannot be read.
    #[error("failed to decode managed fields: {0}")]
    ManagedFields(DecodeError),
}

impl ApplyError {
    /// What the client is told. A configuration that does not fit the type is, as in kube, a 500 without a reason.
    #[must_use]
    pub fn to_status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => conflicts.to_status(),
            Self::BadRequest(why) => Status::bad_request(why.clone()),
            Self::Untypable(_) | Self::ManagedFields(_) => Status::failure(500, "", self.to_string()),
        }
    }
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        error.to_status()
    }
}

/// `group/version, Kind=kind`, as kube prints it.
fn kind_text(object: &Object) -> String {
    let api_version = meta::api_version(object);
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={}", meta::kind(object))
}

/// Applies a configuration: the merged object, with its managed fields.
///
/// Applying what changes nothing gives the live object back, apart from ownership. The result is not defaulted and
/// may have nulls where the configuration has them.
///
/// # Errors
/// When it conflicts with other managers, or is not a configuration of this type.
pub fn apply(request: ApplyRequest<'_>) -> Result<Object, ApplyError> {
    let config = request.config;
    if let Some(live) = request.live
        && (meta::api_version(live), meta::kind(live)) != (meta::api_version(config), meta::kind(config))
    {
        return Err(ApplyError::BadRequest(format!(
            "invalid object type: {}",
            kind_text(config)
        )));
    }
    if meta::get(config, "managedFields").is_some() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let ty = TypeRef::of_type(request.type_name);
    let errors = validate::check(config, ty, false);
    if !errors.is_empty() {
        return Err(ApplyError::Untypable(format!(
            "failed to create typed patch object ({}/{}; {}): {}",
            meta::namespace(config),
            meta::name(config),
            kind_text(config),
            validate::joined(&errors)
        )));
    }
    let live = request
        .live
        .cloned()
        .unwrap_or_else(|| empty_object(config, request.type_name));
    let managers = Managers::of(&live).map_err(ApplyError::ManagedFields)?;
    let mut application = Application {
        live: without_managed_fields(&live),
        managers,
        manager: Manager::new(
            request.manager,
            Operation::Apply,
            meta::api_version(config),
            request.subresource,
        ),
        reset: reset_fields(request.type_name, request.subresource),
        ty,
        request,
    };
    application.track_what_was_there();
    let mut object = application.run()?;
    client_side::keep_last_applied(&mut object, config, request.manager);
    Ok(object)
}

struct Application<'a> {
    request: ApplyRequest<'a>,
    live: Object,
    managers: Managers,
    manager: Manager,
    reset: FieldSet,
    ty: TypeRef,
}

impl Application<'_> {
    /// An object that nobody was tracked on gets a manager for what it has, so that the apply can conflict with it.
    fn track_what_was_there(&mut self) {
        if self.managers.0.is_empty() {
            let empty = empty_object(&self.live, self.request.type_name);
            let version = meta::api_version(&self.live);
            let manager = Manager::new(
                "before-first-apply",
                Operation::Update,
                version,
                self.request.subresource,
            );
            let change = Comparison::of(&empty, &self.live, self.ty).without(&self.reset);
            track::record(&mut self.managers, manager, &change, self.request.now);
        }
    }

    fn run(&self) -> Result<Object, ApplyError> {
        match self.attempt(self.request.force) {
            Err(ApplyError::Conflicts(conflicts)) if self.request.manager == client_side::KUBECTL => {
                // What kubectl applied client-side and nobody changed since is its own already.
                let Some(allowed) = client_side::unchanged_since_last_applied(&self.live, self.ty) else {
                    return Err(ApplyError::Conflicts(conflicts));
                };
                if conflicts.fields().difference(&allowed).is_empty() {
                    return self.attempt(true);
                }
                let left = conflicts
                    .0
                    .into_iter()
                    .filter(|conflict| !allowed.contains(&conflict.path.0));
                Err(ApplyError::Conflicts(Conflicts(left.collect())))
            }
            result => result,
        }
    }

    fn attempt(&self, force: bool) -> Result<Object, ApplyError> {
        let config = self.request.config;
        let version = meta::api_version(config);
        let merged = merge(&self.live, config, self.ty)
            .map_err(|error| ApplyError::Untypable(format!("failed to merge config: {error}")))?;
        let mut managers = self.managers.clone();
        let last = managers.0.get(&self.manager).cloned();
        let applied = Owned {
            api_version: version.to_owned(),
            fields: field_set_of(config, self.ty).without(&self.reset),
            time: last.as_ref().and_then(|last| last.time),
        };
        managers.0.insert(self.manager.clone(), applied);
        let mut object = match last {
            Some(last) if !last.fields.is_empty() => self.prune(&merged, &managers, &last.fields),
            _ => merged,
        };
        let change = Comparison::of(&self.live, &object, self.ty).without(&self.reset);
        managers
            .yield_to(&self.manager, &change, force)
            .map_err(ApplyError::Conflicts)?;
        let changed = !same(&self.live, &object);
        if let Some(owned) = managers.0.get_mut(&self.manager) {
            owned.fields = owned.fields.difference(system_fields());
            if changed {
                owned.time = Some(self.request.now);
            }
        }
        managers.0.retain(|_, owned| !owned.fields.is_empty());
        if !changed {
            object = self.live.clone();
        }
        managers.write(&mut object);
        Ok(object)
    }

    /// Removes what the manager applied before and does not now, unless others own it or something of others is in it.
    fn prune(&self, merged: &Value, managers: &Managers, last: &FieldSet) -> Value {
        let named = |set: &FieldSet| with_named_fields(set, Some(self.ty));
        let fields = |value: &Value| named(&field_set_of(value, self.ty));
        let mut managed = FieldSet::default();
        for owned in managers.0.values() {
            managed.extend(&owned.fields);
        }
        let last = named(last);
        let all = fields(merged);
        let pruned = remove(merged, &last, self.ty);
        // Put back what is owned, this time with everything around it.
        let unowned = all.difference(&fields(&pruned).union(&named(&managed)));
        let pruned = remove(merged, &unowned, self.ty);
        // Put back what was never this manager's.
        remove(merged, &all.difference(&fields(&pruned)).intersection(&last), self.ty)
    }
}
