//! Update: the frame of PUT, PATCH and apply, and of the status and finalize subresources.

use apimachinery::{Object, managed_fields, status::Status};
use storage::KeyValue;

use super::{
    Registry, codec, metadata,
    write::{Write, check, same, with_version},
};
use crate::{admission, errors};

/// How often a patch is tried again on a newer version.
const PATCH_ATTEMPTS: usize = 5;

/// How an update came out.
pub struct Updated {
    /// The object in the served version.
    pub object: Object,
    /// Whether it did not exist before.
    pub created: bool,
}

/// Makes the new object out of the current one (served version; `None` if there is none).
pub trait Change: Send + Sync {
    /// The new object.
    ///
    /// # Errors
    /// What keeps it from being made; 404 if it must exist.
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status>;

    /// Whether field ownership is already in the new object's `managedFields` (apply).
    fn tracks_itself(&self) -> bool {
        false
    }

    /// Whether the uid in the new object is a precondition (PUT), not a change that is not allowed (PATCH).
    fn names_precondition(&self) -> bool {
        true
    }

    /// Whether the server itself makes the change: the kind's own rules for clients do not count.
    fn is_trusted(&self) -> bool {
        false
    }

    /// Whether an object that does not exist may be created.
    fn may_create(&self) -> bool {
        false
    }
}

enum Step {
    Done(Updated),
    Again(Status),
}

impl Registry {
    /// Changes an object. A change that alters nothing writes nothing.
    ///
    /// # Errors
    /// 400, 403, 404, 409, 422 as kube-apiserver answers them.
    pub async fn update(&self, write: &Write<'_>, name: &str, change: &dyn Change) -> Result<Updated, Status> {
        let mut last = None;
        for _ in 0..PATCH_ATTEMPTS {
            match self.update_once(write, name, change).await? {
                Step::Done(updated) => return Ok(updated),
                Step::Again(status) => last = Some(status),
            }
        }
        Err(last.unwrap_or_else(|| errors::stale(write.resource, name)))
    }

    async fn update_once(&self, write: &Write<'_>, name: &str, change: &dyn Change) -> Result<Step, Status> {
        let resource = write.resource;
        let key = resource.key(write.namespace, name);
        let found = self
            .storage
            .get(&key)
            .await
            .map_err(|e| errors::of_storage(resource, name, &e))?;
        let Some(found) = found else {
            if !change.may_create() {
                return Err(errors::not_found(resource, name));
            }
            let mut object = change.apply(None)?;
            if metadata::text(&object, "name").is_empty() {
                metadata::of_mut(&mut object).insert("name".into(), name.into());
            }
            if !metadata::text(&object, "uid").is_empty() {
                let text = format!(
                    "Precondition failed: UID in precondition: {}, UID in object meta: ",
                    metadata::text(&object, "uid")
                );
                return Err(errors::conflict(resource, name, &text));
            }
            metadata::of_mut(&mut object).shift_remove("resourceVersion");
            let object = self.create_as(write, object, change.tracks_itself()).await?;
            return Ok(Step::Done(Updated { object, created: true }));
        };
        let old = codec::decode(&found)?;
        let (mut object, unconditional) = self.changed(write, name, change, &old).await?;
        managed_fields::keep_times_if_unchanged(&mut object, &old);
        if same(&object, &old) {
            let mut object = with_version(old, found.modified.0);
            resource.to_served(&mut object);
            return Ok(Step::Done(Updated { object, created: false }));
        }
        self.store_changed(write, name, object, found, unconditional).await
    }

    /// The new object, checked, in stored form; and whether it did not say which version it is based on.
    async fn changed(
        &self,
        write: &Write<'_>,
        name: &str,
        change: &dyn Change,
        old: &Object,
    ) -> Result<(Object, bool), Status> {
        let resource = write.resource;
        let strategy = resource.stored.strategy;
        let mut served = old.clone();
        resource.to_served(&mut served);
        let mut object = change.apply(Some(&served))?;
        let given = metadata::text(&object, "resourceVersion").to_owned();
        let unconditional = given.is_empty() || given == "0";
        if unconditional && resource.stored.requires_resource_version && write.subresource.is_empty() {
            let wrong =
                apimachinery::field::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
            // Kube names the resource here, not the kind.
            let (group, plural) = (resource.stored.group, resource.stored.resource);
            return Err(apimachinery::field::to_status(group, plural, name, &vec![wrong]));
        }
        if !unconditional && given != metadata::text(old, "resourceVersion") {
            return Err(errors::stale(resource, name));
        }
        let (uid, old_uid) = (metadata::text(&object, "uid"), metadata::text(old, "uid"));
        if !uid.is_empty() && uid != old_uid && change.names_precondition() {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}",
                resource.key(write.namespace, name)
            );
            return Err(errors::conflict(resource, name, &why));
        }
        metadata::match_namespace(resource, &mut object, write.namespace)?;
        write
            .warnings
            .add(metadata::drop_duplicate_owners(&mut object).unwrap_or_default());
        resource.def.strategy.default(&mut object);
        if !change.tracks_itself() {
            write.track(Some(&served), &mut object);
        }
        if let Some(conversion) = resource.conversion() {
            (conversion.to_storage)(&mut object);
            strategy.default(&mut object);
        }
        metadata::inherit(&mut object, old);
        admission::mutate_update(self, write, &mut object, old).await?;
        metadata::of_mut(&mut object).insert("resourceVersion".into(), metadata::text(old, "resourceVersion").into());
        match write.subresource {
            _ if change.is_trusted() => {}
            // Of a namespace's finalization only the finalizers, and metadata, count.
            "finalize" => object["status"] = old["status"].clone(),
            "status" => strategy.prepare_for_status_update(&mut object, old),
            _ => strategy.prepare_for_update(&mut object, old),
        }
        strategy.default(&mut object);
        codec::canonicalize(&mut object);
        let mut wrong = metadata::validate_update(resource, &object, old);
        match write.subresource {
            _ if change.is_trusted() => {}
            "finalize" => {}
            "status" => wrong.extend(strategy.validate_status_update(&object, old)),
            _ => wrong.extend(strategy.validate_update(&object, old)),
        }
        check(resource, name, &wrong)?;
        if matches!(write.subresource, "" | "scale") {
            for text in strategy.warnings(&object, Some(old)) {
                write.warnings.add(text);
            }
        }
        Ok((object, unconditional))
    }

    async fn store_changed(
        &self,
        write: &Write<'_>,
        name: &str,
        mut object: Object,
        found: KeyValue,
        unconditional: bool,
    ) -> Result<Step, Status> {
        let resource = write.resource;
        let old = codec::decode(&found)?;
        let reserved = admission::validate_update(self, write, &mut object, &old).await?;
        codec::canonicalize(&mut object);
        let finished = is_finished(resource, &object);
        if write.options.dry_run {
            resource.to_served(&mut object);
            return Ok(Step::Done(Updated { object, created: false }));
        }
        let result = if finished {
            self.storage
                .delete(&found.key, found.modified)
                .await
                .map(|_| found.modified)
        } else {
            let bytes = codec::encode(&object)?;
            self.storage
                .update(&found.key, bytes, found.modified, resource.ttl)
                .await
                .map(|stored| stored.modified)
        };
        match result {
            Ok(revision) => {
                reserved.keep();
                if finished {
                    admission::deleted(self, resource, &object);
                }
                let mut object = with_version(object, revision.0);
                resource.to_served(&mut object);
                Ok(Step::Done(Updated { object, created: false }))
            }
            // Somebody was faster. Who named no version, or patches what is there, is not concerned.
            Err(storage::Error::Conflict { .. } | storage::Error::NotFound { .. }) => {
                let _ = unconditional;
                Ok(Step::Again(errors::stale(resource, name)))
            }
            Err(error) => Err(errors::of_storage(resource, name, &error)),
        }
    }
}

/// Whether an object under deletion has nothing left to wait for.
#[must_use]
pub fn is_finished(resource: &super::Resource, object: &Object) -> bool {
    if !metadata::is_deleting(object) || !metadata::finalizers(object).is_empty() {
        return false;
    }
    let grace = metadata::of(object)
        .get("deletionGracePeriodSeconds")
        .and_then(serde_json::Value::as_i64);
    if grace.unwrap_or(0) != 0 {
        return false;
    }
    resource.stored.kind != "Namespace"
        || object
            .pointer("/spec/finalizers")
            .and_then(serde_json::Value::as_array)
            .is_none_or(Vec::is_empty)
}
