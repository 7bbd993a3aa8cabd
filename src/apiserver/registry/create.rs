//! Create.

use apimachinery::{Object, status::Status};

use super::{
    Registry, codec, metadata,
    write::{Write, check, with_version},
};
use crate::{admission, errors};

/// How often another suffix is tried for a generated name that is taken.
const GENERATE_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates an object that was decoded in the served version, and returns it in that version.
    ///
    /// # Errors
    /// 400, 403, 404, 409, 422 as kube-apiserver answers them.
    pub async fn create(&self, write: &Write<'_>, object: Object) -> Result<Object, Status> {
        self.create_as(write, object, false).await
    }

    /// The same; `tracked` says that the object already tells who owns its fields (apply).
    pub(super) async fn create_as(&self, write: &Write<'_>, object: Object, tracked: bool) -> Result<Object, Status> {
        let generated =
            metadata::text(&object, "name").is_empty() && !metadata::text(&object, "generateName").is_empty();
        let attempts = if generated { GENERATE_ATTEMPTS } else { 1 };
        let mut last = None;
        for _ in 0..attempts {
            match self.create_once(write, object.clone(), tracked).await {
                Err(status) if status.reason == "AlreadyExists" => last = Some(status),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| errors::internal("no attempt was made to create")))
    }

    async fn create_once(&self, write: &Write<'_>, mut object: Object, tracked: bool) -> Result<Object, Status> {
        let resource = write.resource;
        metadata::match_namespace(resource, &mut object, write.namespace)?;
        write
            .warnings
            .add(metadata::drop_duplicate_owners(&mut object).unwrap_or_default());
        if !metadata::text(&object, "resourceVersion").is_empty() {
            return Err(Status::failure(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        metadata::drop_deletion(&mut object);
        resource.def.strategy.default(&mut object);
        if !tracked {
            write.track(None, &mut object);
        }
        let generate = metadata::text(&object, "generateName").to_owned();
        if metadata::text(&object, "name").is_empty() && !generate.is_empty() {
            metadata::of_mut(&mut object).insert("name".into(), metadata::generate_name(&generate).into());
        }
        if let Some(conversion) = resource.conversion() {
            (conversion.to_storage)(&mut object);
            resource.stored.strategy.default(&mut object);
        }
        let strategy = resource.stored.strategy;
        admission::mutate_create(self, write, &mut object).await?;
        metadata::fill_system_fields(&mut object, write.now);
        strategy.prepare_for_create(&mut object);
        let mut wrong = metadata::validate(resource, &object);
        // As if it had been read back: what was prepared may have defaults of its own.
        strategy.default(&mut object);
        codec::canonicalize(&mut object);
        let name = metadata::text(&object, "name").to_owned();
        wrong.extend(strategy.validate(&object));
        if let Some(conversion) = resource.conversion() {
            wrong.extend((conversion.validate)(&object));
        }
        if wrong.is_empty() {
            // Whatever a kind allows, a name has to fit into a path.
            let problems = apimachinery::names::path_segment_name(&name);
            let invalid =
                |problem: &String| apimachinery::field::invalid("metadata.name", &name.as_str().into(), problem);
            wrong.extend(problems.iter().map(invalid));
        }
        check(resource, &name, &wrong)?;
        for text in strategy.warnings(&object, None) {
            write.warnings.add(text);
        }
        let reserved = admission::validate_create(self, write, &mut object).await?;
        codec::canonicalize(&mut object);
        let stored = self.store_new(write, &name, object).await;
        match stored {
            Ok(mut object) => {
                if !write.options.dry_run {
                    reserved.keep();
                }
                resource.to_served(&mut object);
                Ok(object)
            }
            Err(status) => Err(status),
        }
    }

    async fn store_new(&self, write: &Write<'_>, name: &str, object: Object) -> Result<Object, Status> {
        let resource = write.resource;
        let key = resource.key(metadata::text(&object, "namespace"), name);
        if write.options.dry_run {
            return match self.storage.get(&key).await {
                Ok(None) => Ok(object),
                Ok(Some(there)) => Err(exists(resource, name, &codec::decode(&there)?)),
                Err(error) => Err(errors::of_storage(resource, name, &error)),
            };
        }
        let bytes = codec::encode(&object)?;
        match self.storage.create(&key, bytes, resource.ttl).await {
            Ok(stored) => Ok(with_version(object, stored.modified.0)),
            Err(storage::Error::AlreadyExists { .. }) => match self.storage.get(&key).await {
                Ok(Some(there)) => Err(exists(resource, name, &codec::decode(&there)?)),
                _ => Err(errors::already_exists(resource, name)),
            },
            Err(error) => Err(errors::of_storage(resource, name, &error)),
        }
    }
}

fn exists(resource: &super::Resource, name: &str, there: &Object) -> Status {
    let mut status = errors::already_exists(resource, name);
    if metadata::is_deleting(there) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}
