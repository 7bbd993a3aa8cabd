//! The four ways to patch.

use apimachinery::{
    Object,
    patch::{json_patch, merge_patch, strategic_merge},
    schema::decode_json,
    status::Status,
    text::go_value,
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
            "application/merge-patch+json" => How::Merge(document(bytes, "error decoding patch: ")?),
            "application/strategic-merge-patch+json" => How::Strategic(document(bytes, "")?),
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
        if metadata::text(&object, "name").is_empty() {
            metadata::of_mut(&mut object).insert("name".into(), self.context.info.name.as_str().into());
        }
        metadata::match_namespace(self.resource, &mut object, &self.context.info.namespace)?;
        Ok(object)
    }

    /// The message has no kind.
    fn misfit(&self, shown: String, why: &str) -> Status {
        let strategic = matches!(self.how, How::Strategic(_));
        let why = strategic
            .then(|| apimachinery::schema::converter_words(why))
            .flatten()
            .unwrap_or_else(|| why.to_owned());
        let detail = apimachinery::field::invalid("patch", &shown.into(), &why);
        apimachinery::field::to_status("", "", "", &vec![detail])
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
        // A patched object that does not fit is unprocessable. Kube shows the object, but of a strategic patch itself.
        let shown = match &self.how {
            How::Apply(_) => None,
            How::Strategic(patch) => Some(go_value(patch)),
            How::Json(_) | How::Merge(_) => Some(decoded.object.to_string()),
        };
        let object = body::check(decoded, api_version, kind, validation, &self.warnings).map_err(|status| {
            let prefix = format!(" cannot be handled as a {kind}: ");
            match (shown, status.message.split_once(&prefix)) {
                (Some(shown), Some((_, why))) => self.misfit(shown, why),
                _ => status,
            }
        })?;
        let (name, wanted) = (metadata::text(&object, "name"), self.context.info.name.as_str());
        if !name.is_empty() && name != wanted {
            return Err(errors::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({wanted})"
            )));
        }
        Ok(object)
    }
}

fn document(bytes: &Bytes, prefix: &str) -> Result<Value, Status> {
    let value = decode_json(bytes)
        .map_err(|e| errors::bad_request(format!("{prefix}{e}")))?
        .value;
    let found = match value {
        Value::Object(_) => return Ok(value),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => return Ok(serde_json::json!({})),
    };
    let text = format!("{prefix}json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    Err(errors::bad_request(text))
}

impl Change for Patch<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        self.patched(current)
    }

    fn tracks_itself(&self) -> bool {
        self.is_apply()
    }

    fn names_precondition(&self) -> bool {
        false
    }

    fn may_create(&self) -> bool {
        self.is_apply() && self.context.info.subresource.is_empty()
    }
}
