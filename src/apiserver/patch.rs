//! The four ways to patch.

use apimachinery::{
    Object,
    patch::{json_patch, merge_patch, strategic_merge},
    status::Status,
};
use bytes::Bytes;
use http::header;
use serde_json::Value;

use crate::{
    errors,
    fieldmanager::{self, Apply},
    handlers::Context,
    registry::{Resource, metadata, update::Change, write::Warnings},
    request::{
        Format,
        body::{self, Decoded},
        options::{FieldValidation, WriteOptions},
    },
};

/// The type of what a patch is applied to.
#[derive(Debug, Clone)]
pub struct Target {
    /// As objects carry it.
    pub api_version: String,
    /// Kind.
    pub kind: &'static str,
    /// Name of its type in the schema table.
    pub type_name: &'static str,
}

impl Target {
    /// The objects of a resource, as served.
    #[must_use]
    pub fn of(resource: &Resource) -> Self {
        Self {
            api_version: resource.def.api_version(),
            kind: resource.def.kind,
            type_name: resource.def.type_name,
        }
    }
}

enum How {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
    Apply(Decoded),
}

/// A patch of a request.
pub struct Patch<'a> {
    how: How,
    target: Target,
    resource: &'a Resource,
    context: &'a Context,
    options: WriteOptions,
    /// Warnings of the last attempt only: an attempt that lost a race counts for nothing.
    warnings: Warnings,
}

impl<'a> Patch<'a> {
    /// Reads the patch of a request by its content type, and the request's options.
    ///
    /// # Errors
    /// 415 for other content types, 400 for what cannot be decoded, 422 for options out of range.
    pub fn parse(context: &'a Context, resource: &'a Resource, target: Target, bytes: &Bytes) -> Result<Self, Status> {
        let content_type = context
            .header(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let how = match content_type {
            "application/json-patch+json" => How::Json(bytes.clone()),
            "application/merge-patch+json" => How::Merge(document(bytes)?),
            "application/strategic-merge-patch+json" => How::Strategic(document(bytes)?),
            "application/apply-patch+yaml" => How::Apply(
                body::decode(bytes, Format::Yaml, target.kind)
                    .map_err(|e| errors::bad_request(format!("error decoding YAML: {}", e.message)))?,
            ),
            _ => {
                let details = apimachinery::status::StatusDetails::default();
                return Err(
                    Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type").with_details(details),
                );
            }
        };
        let apply = matches!(how, How::Apply(_));
        let agent = context.header(header::USER_AGENT);
        let options = WriteOptions::parse(&context.query, agent, "PatchOptions", apply)?;
        Ok(Self {
            how,
            target,
            resource,
            context,
            options,
            warnings: Warnings::default(),
        })
    }

    /// The request's options.
    #[must_use]
    pub fn options(&self) -> &WriteOptions {
        &self.options
    }

    /// Whether it is a server-side apply.
    #[must_use]
    pub fn is_apply(&self) -> bool {
        matches!(self.how, How::Apply(_))
    }

    /// Adds what the last application warned of to the answer.
    pub fn warn(&self) {
        self.warnings
            .take()
            .into_iter()
            .for_each(|text| self.context.warnings.add(text));
    }

    /// The patched object. `current` is `None` only for an apply that creates.
    ///
    /// # Errors
    /// 400, 404, 409, 415, 422 as kube-apiserver answers them.
    pub fn patched(&self, current: Option<&Object>) -> Result<Object, Status> {
        drop(self.warnings.take());
        let missing = || errors::not_found(self.resource, &self.context.info.name);
        let patched = match &self.how {
            How::Apply(config) => return self.applied(current, config),
            How::Json(patch) => json_patch(current.ok_or_else(missing)?.clone(), patch)?,
            How::Merge(patch) => merge_patch(current.ok_or_else(missing)?.clone(), patch)?,
            How::Strategic(patch) => {
                strategic_merge(current.ok_or_else(missing)?.clone(), patch, self.target.type_name)?
            }
        };
        self.checked(Decoded {
            object: patched,
            duplicates: Vec::new(),
            typed: false,
        })
    }

    fn applied(&self, current: Option<&Object>, config: &Decoded) -> Result<Object, Status> {
        let applied = fieldmanager::apply(&Apply {
            live: current,
            config: &config.object,
            target: &self.target,
            subresource: &self.context.info.subresource,
            options: &self.options,
            now: self.context.now,
        })?;
        self.judge_duplicates(&config.duplicates)?;
        // Unknown fields were refused with the configuration: what is left is the canonical form.
        let mut object = self.checked(Decoded {
            object: applied,
            duplicates: Vec::new(),
            typed: true,
        })?;
        let name = metadata::text(&object, "name").to_owned();
        let wanted = self.context.info.name.as_str();
        if name.is_empty() {
            metadata::of_mut(&mut object).insert("name".into(), wanted.into());
        } else if name != wanted {
            return Err(errors::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({wanted})"
            )));
        }
        metadata::match_namespace(self.resource, &mut object, &self.context.info.namespace)?;
        Ok(object)
    }

    fn judge_duplicates(&self, duplicates: &[String]) -> Result<(), Status> {
        let texts: Vec<String> = duplicates
            .iter()
            .map(|path| format!("key {path:?} already set in map"))
            .collect();
        match self.options.field_validation {
            FieldValidation::Strict if !texts.is_empty() => Err(errors::bad_request(format!(
                "error strict decoding YAML: {}",
                texts.join(", ")
            ))),
            FieldValidation::Warn => {
                texts.into_iter().for_each(|text| self.warnings.add(text));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn checked(&self, decoded: Decoded) -> Result<Object, Status> {
        let validation = self.options.field_validation;
        let Target { api_version, kind, .. } = &self.target;
        let patched = if validation == FieldValidation::Strict {
            decoded.object.to_string()
        } else {
            String::new()
        };
        body::check(decoded, api_version, kind, validation, &self.warnings).map_err(|status| {
            // A patched object that does not fit is unprocessable, unless the patch itself was what did not decode.
            match (&self.how, validation) {
                (How::Apply(_), _) => status,
                (_, FieldValidation::Strict) if status.message.contains("strict decoding error") => {
                    let text = status
                        .message
                        .split_once("strict decoding error")
                        .map_or("", |(_, rest)| rest);
                    strict(&patched, text)
                }
                _ => status,
            }
        })
    }
}

/// Of a patched object with unknown fields the message has the whole object and no kind.
fn strict(patched: &str, text: &str) -> Status {
    let detail = apimachinery::field::invalid("patch", &patched.into(), &format!("strict decoding error{text}"));
    apimachinery::field::to_status("", "", "", &vec![detail])
}

fn document(bytes: &Bytes) -> Result<Value, Status> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| errors::bad_request(format!("error decoding patch: {e}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(errors::bad_request(
            "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
        ))
    }
}

impl Change for Patch<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        self.patched(current)
    }

    fn tracks_itself(&self) -> bool {
        self.is_apply()
    }

    fn may_create(&self) -> bool {
        self.is_apply() && self.context.info.subresource.is_empty()
    }
}
