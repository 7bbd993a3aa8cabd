//! What every write has in common.

use apimachinery::{Object, status::Status};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Resource, codec, metadata};
use crate::{authn::UserInfo, request::options::WriteOptions};

/// Texts for `Warning` headers, collected while a request is served.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds a text unless it is there already.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !text.is_empty() && !all.contains(&text) {
            all.push(text);
        }
    }

    /// Puts a text before the others.
    pub fn put_first(&self, text: &str) {
        let mut all = self.0.lock();
        all.retain(|there| there != text);
        all.insert(0, text.to_owned());
    }

    /// Every text, in order.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// One write: who does what to which resource, when and how.
pub struct Write<'a> {
    /// The resource, as addressed.
    pub resource: &'a Resource,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace of the request; empty if none.
    pub namespace: &'a str,
    /// Options of the request.
    pub options: &'a WriteOptions,
    /// Who.
    pub user: &'a UserInfo,
    /// Where warnings go.
    pub warnings: &'a Warnings,
    /// When.
    pub now: Timestamp,
}

impl Write<'_> {
    /// Records in `object` who owns the fields that changed against `live`.
    ///
    /// # Errors
    /// 422 for malformed managed fields in the request.
    pub fn track(&self, live: Option<&Object>, object: &mut Object) {
        crate::fieldmanager::track(self, live, object);
    }
}

/// Whether two objects are the same but for their version and the order of keys.
#[must_use]
pub fn same(a: &Object, b: &Object) -> bool {
    let strip = |object: &Object| {
        let mut copy = object.clone();
        metadata::of_mut(&mut copy).shift_remove("resourceVersion");
        codec::normalize(&mut copy);
        copy
    };
    strip(a) == strip(b)
}

/// The object with its version set.
#[must_use]
pub fn with_version(mut object: Object, revision: u64) -> Object {
    metadata::of_mut(&mut object).insert("resourceVersion".into(), revision.to_string().into());
    codec::normalize(&mut object);
    object
}

/// The 422 of validation errors, or nothing.
///
/// # Errors
/// The 422.
pub fn check(resource: &Resource, name: &str, errors: &apimachinery::field::ErrorList) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(apimachinery::field::to_status(
            resource.stored.group,
            resource.stored.kind,
            name,
            errors,
        ))
    }
}
