//! JSON to protobuf.
//!
//! The bytes are those of kube-apiserver: fields by ascending number, maps by key, and plain
//! scalars and structs always written, even if they are zero.

use serde_json::{Map, Value};

use super::wire::Writer;
use super::{MAGIC, Message, ProtobufError, envelope};
use crate::Object;
use crate::duration;
use crate::schema::{Field, Number, Schema, Shape, Type, scalar};

/// Encodes an object or a list of objects, in its envelope.
///
/// # Errors
/// [`ProtobufError::UnknownKind`] if the table does not have the kind;
/// [`ProtobufError::Value`] if a value does not fit its field.
pub fn encode(object: &Object) -> Result<Vec<u8>, ProtobufError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    let mut writer = Writer(MAGIC.to_vec());
    writer.message(envelope::TYPE, |names| {
        names.bytes(envelope::API_VERSION, api_version.as_bytes());
        names.bytes(envelope::KIND, kind.as_bytes());
        Ok::<_, ProtobufError>(())
    })?;
    writer.message(envelope::RAW, |raw| match Message::find(api_version, kind)? {
        Message::Object(ty) => message(ty, map, raw),
        Message::List { items, meta } => list(items, meta, map, raw),
    })?;
    writer.bytes(envelope::ENCODING, b"");
    writer.bytes(envelope::MEDIA_TYPE, b"");
    Ok(writer.0)
}

/// Encodes a watch event, without the length that precedes it in a stream.
///
/// # Errors
/// As [`encode`].
pub fn encode_watch_event(event: &str, object: &Object) -> Result<Vec<u8>, ProtobufError> {
    let mut writer = Writer::default();
    writer.bytes(1, event.as_bytes());
    let encoded = encode(object)?;
    writer.message(2, |raw| {
        raw.bytes(1, &encoded);
        Ok::<_, ProtobufError>(())
    })?;
    Ok(writer.0)
}

fn list(items: &Type, meta: &Type, map: &Map<String, Value>, writer: &mut Writer) -> Result<(), ProtobufError> {
    let empty = Map::new();
    let metadata = map.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    writer.message(1, |inner| message(meta, metadata, inner))?;
    for item in map.get("items").and_then(Value::as_array).into_iter().flatten() {
        writer.message(2, |inner| message(items, item.as_object().unwrap_or(&empty), inner))?;
    }
    Ok(())
}

fn message(ty: &Type, map: &Map<String, Value>, writer: &mut Writer) -> Result<(), ProtobufError> {
    let mut fields = ty.by_number().peekable();
    while let Some(field) = fields.next() {
        match field.number {
            Number::Absent => {}
            Number::Direct(number) => write_field(field, number, map.get(field.name), writer)?,
            Number::Nested(outer, number) => writer.message(outer, |inner| {
                write_field(field, number, map.get(field.name), inner)?;
                while let Some(next) = fields.next_if(|next| matches!(next.number, Number::Nested(o, _) if o == outer))
                {
                    if let Number::Nested(_, number) = next.number {
                        write_field(next, number, map.get(next.name), inner)?;
                    }
                }
                Ok::<_, ProtobufError>(())
            })?,
        }
    }
    Ok(())
}

fn write_field(field: &Field, number: u32, value: Option<&Value>, writer: &mut Writer) -> Result<(), ProtobufError> {
    let value = value.unwrap_or(&Value::Null);
    if value.is_null() && (field.pointer || matches!(field.shape, Shape::Bytes | Shape::Strings)) {
        return Ok(());
    }
    match (&field.shape, value) {
        (Shape::List(_) | Shape::Map(_), Value::Null) => Ok(()),
        (Shape::List(inner), Value::Array(items)) => items
            .iter()
            .try_for_each(|item| write(inner, number, item, field, writer)),
        (Shape::Map(inner), Value::Object(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries.into_iter().try_for_each(|(key, item)| {
                writer.message(number, |entry| {
                    entry.bytes(1, key.as_bytes());
                    write(inner, 2, item, field, entry)
                })
            })
        }
        (shape, value) => write(shape, number, value, field, writer),
    }
}

fn misfit(field: &Field, value: &Value) -> ProtobufError {
    let mut text = value.to_string();
    text.truncate(text.char_indices().nth(80).map_or(text.len(), |(at, _)| at));
    ProtobufError::Value(format!("{}: cannot encode {text}", field.name))
}

/// Writes one value; null stands for the zero of the shape.
fn write(shape: &Shape, number: u32, value: &Value, field: &Field, writer: &mut Writer) -> Result<(), ProtobufError> {
    let wrong = || misfit(field, value);
    let text = || match value {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text.as_str()),
        _ => Err(wrong()),
    };
    let int = || {
        if value.is_null() {
            Ok(0)
        } else {
            value.as_i64().ok_or_else(wrong)
        }
    };
    match shape {
        Shape::String => writer.bytes(number, text()?.as_bytes()),
        Shape::Bool if value.is_null() => writer.int(number, 0),
        Shape::Bool => writer.int(number, i64::from(value.as_bool().ok_or_else(wrong)?)),
        Shape::I32 | Shape::I64 => writer.int(number, int()?),
        Shape::F64 if value.is_null() => writer.float(number, 0.0),
        Shape::F64 => writer.float(number, value.as_f64().ok_or_else(wrong)?),
        Shape::Bytes => writer.bytes(number, &scalar::decode_base64(text()?).map_err(|_| wrong())?),
        Shape::Quantity => {
            let quantity = match value {
                Value::Number(number) => number.to_string(),
                _ => text()?.to_owned(),
            };
            let quantity = if quantity.is_empty() { "0" } else { &quantity };
            return writer.message(number, |inner| {
                inner.bytes(1, quantity.as_bytes());
                Ok(())
            });
        }
        Shape::IntOrString => {
            let (kind, whole, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                _ => (0, int()?, ""),
            };
            return writer.message(number, |inner| {
                inner.int(1, kind);
                inner.int(2, whole);
                inner.bytes(3, text.as_bytes());
                Ok(())
            });
        }
        Shape::Time | Shape::MicroTime => return time(shape, number, value, field, writer),
        Shape::Duration => {
            let nanos = if value.is_null() {
                0
            } else {
                duration::parse_nanos(text()?).map_err(|error| ProtobufError::Value(error.to_string()))?
            };
            return writer.message(number, |inner| {
                inner.int(1, nanos);
                Ok(())
            });
        }
        Shape::Any | Shape::FieldsV1 => {
            return writer.message(number, |inner| {
                if !value.is_null() {
                    inner.bytes(1, value.to_string().as_bytes());
                }
                Ok(())
            });
        }
        Shape::Strings => {
            let items = if value.is_null() {
                &[]
            } else {
                value.as_array().ok_or_else(wrong)?.as_slice()
            };
            return writer.message(number, |inner| {
                items.iter().try_for_each(|item| {
                    inner.bytes(1, item.as_str().ok_or_else(wrong)?.as_bytes());
                    Ok(())
                })
            });
        }
        Shape::Struct(id) => {
            let empty = Map::new();
            let map = if value.is_null() {
                &empty
            } else {
                value.as_object().ok_or_else(wrong)?
            };
            return writer.message(number, |inner| message(Schema::global().get(*id), map, inner));
        }
        Shape::List(_) | Shape::Map(_) => return Err(wrong()),
    }
    Ok(())
}

fn time(shape: &Shape, number: u32, value: &Value, field: &Field, writer: &mut Writer) -> Result<(), ProtobufError> {
    let digits = if *shape == Shape::Time { 0 } else { 6 };
    let time = match value {
        Value::Null => None,
        Value::String(text) => Some(scalar::parse_time(text, digits).map_err(ProtobufError::Value)?),
        _ => return Err(misfit(field, value)),
    };
    writer.message(number, |inner| {
        if let Some(time) = time {
            inner.int(1, time.as_second());
            inner.int(2, i64::from(time.subsec_nanosecond()));
        }
        Ok(())
    })
}
