//! Request bodies: size, content type, decoding.

use apimachinery::{
    Object,
    managed_fields::keep_reset,
    protobuf,
    schema::{Schema, decode_json, decode_yaml},
    status::Status,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Format, options::FieldValidation};
use crate::{errors, registry::write::Warnings};

/// No request may be larger.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Reads a whole body.
///
/// # Errors
/// 413 above [`LIMIT`], 400 if the client breaks off.
pub async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Status::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {LIMIT}"),
        )),
        Err(error) => Err(errors::bad_request(format!("cannot read the body: {error}"))),
    }
}

/// The format of a body by its Content-Type; JSON if there is none.
///
/// # Errors
/// 415 for others.
pub fn format_of(content_type: &str) -> Result<Format, Status> {
    let media = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match media.as_str() {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
        _ => Err(unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// 415, naming what is supported.
#[must_use]
pub fn unsupported_media_type(supported: &[&str]) -> Status {
    Status::failure(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        ),
    )
}

/// A decoded body, not yet checked against a kind.
pub struct Decoded {
    /// The object.
    pub object: Object,
    /// Paths of keys that stood there twice.
    pub duplicates: Vec<String>,
    /// Whether the format names fields by number: unknown ones are gone already.
    pub typed: bool,
}

/// Decodes a body that holds one object, without a look at its kind.
///
/// # Errors
/// 400 if it cannot be decoded; `kind` is what was expected.
pub fn decode(bytes: &[u8], format: Format, kind: &str) -> Result<Decoded, Status> {
    let raw = match format {
        Format::Json => decode_json(bytes),
        Format::Yaml => decode_yaml(bytes),
        Format::Protobuf => {
            let object = protobuf::decode(bytes).map_err(|e| unrecognized(bytes, kind, &e))?;
            return Ok(Decoded {
                object,
                duplicates: Vec::new(),
                typed: true,
            });
        }
    };
    let unnamed = |error: &dyn std::fmt::Display| {
        let text = match format {
            Format::Yaml => error.to_string(),
            _ => format!("couldn't get version/kind; json parse error: {error}"),
        };
        unrecognized(bytes, kind, &text)
    };
    let mut raw = raw.map_err(|e| unnamed(&e))?;
    if raw.value.is_null() {
        raw.value = serde_json::json!({});
    }
    if let Some(error) = no_names(&raw.value) {
        return Err(unnamed(&error));
    }
    Ok(Decoded {
        object: raw.value,
        duplicates: raw.duplicates,
        typed: false,
    })
}

/// Why a document does not say, or leave out, its kind and version.
fn no_names(document: &serde_json::Value) -> Option<String> {
    const NAMES: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let of = |value: &serde_json::Value| match value {
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        _ => "object",
    };
    if !document.is_object() {
        return Some(format!(
            "json: cannot unmarshal {} into Go value of type {NAMES}",
            of(document)
        ));
    }
    ["apiVersion", "kind"].iter().find_map(|key| {
        let value = document
            .get(key)
            .filter(|value| !value.is_string() && !value.is_null())?;
        Some(format!(
            "json: cannot unmarshal {} into Go struct field .{key} of type string",
            of(value)
        ))
    })
}

/// Brings an object into the canonical form of its kind. `api_version` and `kind` are what the request is about;
/// an object that names none is taken to be that.
///
/// # Errors
/// 400 for another kind or version, for values that do not fit, and (strict) for unknown or duplicate fields.
pub fn check(
    decoded: Decoded,
    api_version: &str,
    kind: &str,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Object, Status> {
    let Decoded {
        mut object,
        duplicates,
        typed,
    } = decoded;
    let given = |key: &str| {
        object
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (given_version, given_kind) = (given("apiVersion"), given("kind"));
    if (!given_kind.is_empty() && given_kind != kind) || (!given_version.is_empty() && given_version != api_version) {
        return Err(wrong_kind(&given_version, &given_kind, api_version, kind));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    let sent = object
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"))
        .cloned();
    let Some(report) = Schema::global().check(api_version, kind, &mut object) else {
        return Ok(object);
    };
    if let Some(sent) = sent {
        keep_reset(&serde_json::json!({"metadata": {"managedFields": sent}}), &mut object);
    }
    if let Some(error) = &report.error {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        return Err(errors::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
        )));
    }
    if !typed {
        let twice = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
        let all: Vec<String> = twice.chain(report.strict_errors()).collect();
        judge(all, kind, api_version, validation, warnings)?;
    }
    Ok(object)
}

fn judge(
    found: Vec<String>,
    kind: &str,
    api_version: &str,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !found.is_empty() => {
            let version = api_version.rsplit('/').next().unwrap_or_default();
            let list = found.join(", ");
            Err(errors::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {list}"
            )))
        }
        FieldValidation::Warn => {
            found.into_iter().for_each(|text| warnings.add(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn wrong_kind(given_version: &str, given_kind: &str, api_version: &str, kind: &str) -> Status {
    if given_version.is_empty()
        || given_version == api_version
        || Schema::global().type_of(given_version, given_kind).is_none()
    {
        let version = given_version.rsplit('/').next().unwrap_or_default();
        let why = if Schema::global().type_of(given_version, given_kind).is_some() {
            let group = |version: &str| match version.split_once('/') {
                Some((group, _)) => group.split('.').next().unwrap_or_default().to_owned(),
                None => "core".to_owned(),
            };
            format!(
                "converting (v1.{given_kind}) to ({}.{kind}): unknown conversion",
                group(api_version)
            )
        } else {
            format!(
                "no kind {given_kind:?} is registered for version {given_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        };
        return errors::bad_request(format!(
            "{given_kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ));
    }
    errors::bad_request(format!(
        "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
    ))
}

fn unrecognized(bytes: &[u8], kind: &str, error: &dyn std::fmt::Display) -> Status {
    errors::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {error} ({})",
        summary(bytes)
    ))
}

fn summary(bytes: &[u8]) -> String {
    const MAX: usize = 30;
    let cut = &bytes[..bytes.len().min(MAX)];
    let more = if bytes.len() > MAX { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(cut)),
        Some(_) => format!("{}{more}", cut.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_above_the_limit_is_413() {
        let big = http_body_util::Full::new(Bytes::from(vec![b' '; LIMIT + 1]));
        assert_eq!(read(big).await.unwrap_err().code, 413);
        let fits = http_body_util::Full::new(Bytes::from(vec![b' '; LIMIT]));
        assert_eq!(read(fits).await.unwrap().len(), LIMIT);
    }

    #[test]
    fn a_missing_content_type_is_json_and_a_strange_one_415() {
        assert_eq!(format_of("").unwrap(), Format::Json);
        assert_eq!(format_of("application/json; charset=utf-8").unwrap(), Format::Json);
        assert_eq!(format_of("text/plain").unwrap_err().code, 415);
    }
}
