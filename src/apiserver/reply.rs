//! Answers: formats, standard headers, compression.

use apimachinery::{Object, status::Status};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::{
    errors,
    request::{Accepted, Format, Transform},
};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer.
pub type Reply = Response<Body>;

/// Answers below this many bytes are not compressed: it costs more than it saves.
const GZIP_THRESHOLD: usize = 128 * 1024;

/// A body out of bytes.
#[must_use]
pub fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Any body as ours.
#[must_use]
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An answer of bytes.
#[must_use]
pub fn bytes(code: u16, content_type: &'static str, content: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body(content));
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An answer of plain text.
#[must_use]
pub fn text(code: u16, content: impl Into<Bytes>) -> Reply {
    let mut reply = bytes(code, "text/plain; charset=utf-8", content);
    reply
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// An object in an accepted format.
///
/// # Errors
/// 406 if the object has no protobuf form.
pub fn object(code: u16, object: &Object, accepted: &Accepted) -> Result<Reply, Status> {
    let content = encode(object, accepted.format, accepted.pretty)?;
    Ok(bytes(code, accepted.format.media_type(), content))
}

/// An object as bytes.
///
/// # Errors
/// 406 if the object has no protobuf form; 500 if it cannot be written.
pub fn encode(object: &Object, format: Format, pretty: bool) -> Result<Vec<u8>, Status> {
    match format {
        Format::Json if pretty => serde_json::to_vec_pretty(object).map_err(errors::internal),
        Format::Json => {
            let mut out = serde_json::to_vec(object).map_err(errors::internal)?;
            out.push(b'\n');
            Ok(out)
        }
        Format::Yaml => serde_saphyr::to_string(&sorted(object))
            .map(String::into_bytes)
            .map_err(errors::internal),
        Format::Protobuf => apimachinery::protobuf::encode(object).map_err(|error| {
            Status::failure(
                406,
                "NotAcceptable",
                format!("only the following media types are accepted: application/json, application/yaml: {error}"),
            )
        }),
    }
}

/// YAML is written with sorted keys, as kube-apiserver does.
fn sorted(object: &Object) -> Object {
    let mut object = object.clone();
    object.sort_all_objects();
    object
}

/// JSON that is there already, in an accepted format.
///
/// # Errors
/// As [`object`].
pub fn json(code: u16, content: Vec<u8>, accepted: &Accepted) -> Result<Reply, Status> {
    if accepted.format == Format::Json && !accepted.pretty {
        return Ok(bytes(code, Format::Json.media_type(), content));
    }
    let value: Object = serde_json::from_slice(&content).map_err(errors::internal)?;
    object(code, &value, accepted)
}

/// A failure, in the format the client accepts as far as possible.
#[must_use]
pub fn status(status: &Status, format: Format, pretty: bool) -> Reply {
    let value = serde_json::to_value(status).unwrap_or_default();
    let accepted = Accepted {
        format,
        transform: Transform::None,
        pretty,
    };
    let plain = Accepted {
        format: Format::Json,
        ..accepted
    };
    let code = if status.code == 0 { 500 } else { status.code };
    let mut reply = object(code, &value, &accepted)
        .or_else(|_| object(code, &value, &plain))
        .unwrap_or_else(|_| text(code, status.message.clone()));
    let retry = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    let retry = if retry == 0 && code == 429 { 1 } else { retry };
    if retry > 0 {
        reply
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    if code == 403 {
        reply
            .headers_mut()
            .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    reply
}

/// Compresses a large body for a client that takes it.
#[must_use]
pub fn compress(headers: &HeaderMap, content: Vec<u8>, content_type: &'static str, code: u16) -> Reply {
    let takes = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| {
            v.split(',')
                .any(|e| e.split(';').next().unwrap_or_default().trim() == "gzip")
        });
    if !takes || content.len() <= GZIP_THRESHOLD {
        return bytes(code, content_type, content);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(content.len() / 4), flate2::Compression::new(1));
    let written = std::io::Write::write_all(&mut encoder, &content).and_then(|()| encoder.finish());
    match written {
        Ok(compressed) => {
            let mut reply = bytes(code, content_type, compressed);
            reply
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
                .headers_mut()
                .insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            reply
        }
        Err(_) => bytes(code, content_type, content),
    }
}
