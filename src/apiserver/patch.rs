//! The four ways to patch, as changes of an object.

use apimachinery::{Object, status::Status};
use bytes::Bytes;
use http::header;
use serde_json::Value;

use crate::{
    errors,
    handlers::Context,
    registry::{Resource, update::Change, write::Warnings},
    request::{
        body::{self, Decoded},
        options::{FieldValidation, WriteOptions},
    },
};

/// Most operations of a JSON patch.
const MAX_OPERATIONS: usize = 10_000;
const ACCEPTED: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

enum How {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
    Apply(Object),
}

/// A patch of a request.
pub struct Patch<'a> {
    how: How,
    resource: &'a Resource,
    name: String,
    namespace: String,
    subresource: String,
    options: WriteOptions,
    warnings: Warnings,
    now: jiff::Timestamp,
}

impl<'a> Patch<'a> {
    /// Reads the patch of a request by its content type.
    ///
    /// # Errors
    /// 415 for other content types, 400 for what cannot be decoded.
    pub fn parse(context: &Context, resource: &'a Resource, bytes: &Bytes) -> Result<Self, Status> {
        let content_type = context
            .header(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let json = || -> Result<Value, Status> {
            serde_json::from_slice(bytes).map_err(|e| errors::bad_request(format!("error decoding patch: {e}")))
        };
        let how = match content_type {
            "application/json-patch+json" => {
                let operations: Vec<Value> = serde_json::from_slice(bytes)
                    .map_err(|e| errors::bad_request(format!("error decoding patch: {e}")))?;
                if operations.len() > MAX_OPERATIONS {
                    let text = format!(
                        "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                        operations.len()
                    );
                    return Err(Status::failure(413, "RequestEntityTooLarge", text));
                }
                How::Json(bytes.clone())
            }
            "application/merge-patch+json" => How::Merge(json()?),
            "application/strategic-merge-patch+json" => How::Strategic(json()?),
            "application/apply-patch+yaml" => {
                let decoded = body::decode(bytes, crate::request::Format::Yaml, resource.def.kind)
                    .map_err(|e| errors::bad_request(format!("error decoding YAML: {}", e.message)))?;
                How::Apply(decoded.object)
            }
            _ => return Err(body::unsupported_media_type(&ACCEPTED)),
        };
        Ok(Self {
            how,
            resource,
            name: context.info.name.clone(),
            namespace: context.info.namespace.clone(),
            subresource: context.info.subresource.clone(),
            options: WriteOptions::default(),
            warnings: Warnings::default(),
            now: context.now,
        })
    }

    /// Whether it is a server-side apply.
    #[must_use]
    pub fn is_apply(&self) -> bool {
        matches!(self.how, How::Apply(_))
    }

    /// The same with the options of the request.
    #[must_use]
    pub fn with(mut self, options: &WriteOptions, context: &Context) -> Self {
        self.options = options.clone();
        self.now = context.now;
        self
    }

    /// What the last application warned of.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    fn checked(&self, object: Object) -> Result<Object, Status> {
        let decoded = Decoded {
            object,
            duplicates: Vec::new(),
            typed: false,
        };
        let def = self.resource.def;
        let validation = self.options.field_validation;
        body::check(decoded, &def.api_version(), def.kind, validation, &self.warnings).map_err(|mut status| {
            if validation == FieldValidation::Strict && status.message.contains("strict decoding error") {
                status = Status::failure(422, "Invalid", status.message);
            }
            status
        })
    }
}

impl Change for Patch<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let Some(current) = current else {
            return Err(errors::not_found(self.resource, &self.name));
        };
        let patched = match &self.how {
            How::Merge(patch) => merge(current.clone(), patch),
            _ => return Err(body::unsupported_media_type(&ACCEPTED)),
        };
        self.checked(patched)
    }

    fn tracks_itself(&self) -> bool {
        self.is_apply()
    }

    fn may_create(&self) -> bool {
        self.is_apply() && self.subresource.is_empty()
    }
}

fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let mut fields = match target {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.shift_remove(key);
        } else {
            let old = fields.get(key).cloned().unwrap_or(Value::Null);
            fields.insert(key.clone(), merge(old, change));
        }
    }
    Value::Object(fields)
}
