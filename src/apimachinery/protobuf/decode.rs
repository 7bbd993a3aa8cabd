//! Protobuf to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number as JsonNumber, Value};

use super::wire::{Raw, Reader};
use super::{MAGIC, Message, ProtobufError, envelope};
use crate::Object;
use crate::duration;
use crate::schema::{Field, MAX_LISTED, MAX_VALUES, Number, Schema, Shape, Type, scalar};

/// Messages in messages; no kind of the table comes near.
const MAX_DEPTH: usize = 64;

/// Decodes an object in its envelope. The object comes out in canonical form, with its kind
/// and apiVersion.
///
/// # Errors
/// [`ProtobufError`] if the bytes are not an object of a known kind.
pub fn decode(bytes: &[u8]) -> Result<Object, ProtobufError> {
    Decoder { values: 0, listed: 0 }.envelope(bytes, 0)
}

/// Counts what an object has, as the readers of JSON and YAML do; each object of a list for itself.
struct Decoder {
    values: usize,
    listed: usize,
}

impl Decoder {
    fn envelope(&mut self, bytes: &[u8], depth: usize) -> Result<Object, ProtobufError> {
        let mut reader = Reader(bytes.strip_prefix(&MAGIC).ok_or(ProtobufError::Prefix)?);
        let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), [].as_slice());
        while let Some((field, value)) = reader.field()? {
            match field {
                envelope::TYPE => {
                    let mut names = Reader(value.bytes(field)?);
                    while let Some((field, value)) = names.field()? {
                        match field {
                            envelope::API_VERSION => api_version = value.text(field)?,
                            envelope::KIND => kind = value.text(field)?,
                            _ => {}
                        }
                    }
                }
                envelope::RAW => raw = value.bytes(field)?,
                _ => {}
            }
        }
        self.named(&api_version, &kind, raw, depth)
    }

    fn named(&mut self, api_version: &str, kind: &str, raw: &[u8], depth: usize) -> Result<Object, ProtobufError> {
        let mut object = Map::new();
        let list = match Message::find(api_version, kind)? {
            Message::Object(ty) => {
                self.message(ty, raw, &mut object, depth)?;
                object = canonical(ty, object)?;
                None
            }
            Message::List { items, meta } => Some(self.list(items, meta, raw, depth)?),
        };
        // Kind and version go first; the map is rebuilt around them.
        let mut named = Map::new();
        named.insert("kind".to_owned(), Value::from(kind));
        named.insert("apiVersion".to_owned(), Value::from(api_version));
        named.extend(list.unwrap_or(object));
        Ok(Value::Object(named))
    }

    fn list(
        &mut self,
        items: &'static Type,
        meta: &'static Type,
        raw: &[u8],
        depth: usize,
    ) -> Result<Map<String, Value>, ProtobufError> {
        let mut metadata = Map::new();
        let mut decoded = Vec::new();
        let mut reader = Reader(raw);
        while let Some((field, value)) = reader.field()? {
            match field {
                1 => self.message(meta, value.bytes(field)?, &mut metadata, depth + 1)?,
                2 => {
                    (self.values, self.listed) = (0, 0);
                    let mut item = Map::new();
                    self.message(items, value.bytes(field)?, &mut item, depth + 1)?;
                    decoded.push(Value::Object(canonical(items, item)?));
                }
                _ => {}
            }
        }
        let mut list = Map::new();
        list.insert("metadata".to_owned(), Value::Object(canonical(meta, metadata)?));
        list.insert("items".to_owned(), Value::Array(decoded));
        Ok(list)
    }

    fn message(
        &mut self,
        ty: &'static Type,
        bytes: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if depth > MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        let mut reader = Reader(bytes);
        while let Some((number, raw)) = reader.field()? {
            if let Some(field) = ty.field_by_number(Number::Direct(number)) {
                self.field(field, number, raw, into, depth)?;
            } else if ty.has_nested(number) {
                let mut inner = Reader(raw.bytes(number)?);
                while let Some((nested, raw)) = inner.field()? {
                    if let Some(field) = ty.field_by_number(Number::Nested(number, nested)) {
                        self.field(field, nested, raw, into, depth)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &'static Field,
        number: u32,
        raw: Raw<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match &field.shape {
            Shape::List(inner) => {
                let list = into.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    self.items(inner, number, raw, list, depth)?;
                }
            }
            Shape::Map(inner) => {
                let (key, value) = self.entry(inner, number, raw, depth)?;
                if let Value::Object(map) = into.entry(field.name).or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(key, value);
                }
            }
            Shape::Struct(id) => {
                self.count()?;
                // A message that comes in parts is merged, as protobuf says.
                let value = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = value {
                    self.message(Schema::global().get(*id), raw.bytes(number)?, map, depth + 1)?;
                }
            }
            shape => {
                let value = self.scalar(shape, number, raw, depth)?;
                into.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        inner: &'static Shape,
        number: u32,
        raw: Raw<'_>,
        list: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if let (Shape::I32 | Shape::I64 | Shape::Bool, Raw::Bytes(packed)) = (inner, raw) {
            let mut reader = Reader(packed);
            while !reader.0.is_empty() {
                let item = Raw::Varint(reader.varint()?);
                list.push(self.scalar(inner, number, item, depth)?);
            }
            return Ok(());
        }
        if matches!(inner, Shape::Struct(_)) {
            self.listed += 1;
            if self.listed > MAX_LISTED {
                return Err(ProtobufError::Size);
            }
        }
        list.push(self.value(inner, number, raw, depth)?);
        Ok(())
    }

    fn entry(
        &mut self,
        inner: &'static Shape,
        number: u32,
        raw: Raw<'_>,
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader(raw.bytes(number)?);
        while let Some((part, raw)) = reader.field()? {
            match part {
                1 => key = raw.text(part)?,
                2 => value = Some(self.value(inner, part, raw, depth)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or(Value::Null)))
    }

    fn value(
        &mut self,
        shape: &'static Shape,
        number: u32,
        raw: Raw<'_>,
        depth: usize,
    ) -> Result<Value, ProtobufError> {
        let Shape::Struct(id) = shape else {
            return self.scalar(shape, number, raw, depth);
        };
        self.count()?;
        let mut map = Map::new();
        self.message(Schema::global().get(*id), raw.bytes(number)?, &mut map, depth + 1)?;
        Ok(Value::Object(map))
    }

    fn count(&mut self) -> Result<(), ProtobufError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            Err(ProtobufError::Size)
        } else {
            Ok(())
        }
    }

    fn scalar(&mut self, shape: &Shape, number: u32, raw: Raw<'_>, depth: usize) -> Result<Value, ProtobufError> {
        self.count()?;
        Ok(match shape {
            Shape::String => Value::String(raw.text(number)?),
            Shape::Bool => Value::Bool(raw.int(number)? != 0),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "protobuf keeps the low 32 bits of an int32"
            )]
            Shape::I32 => Value::from(raw.int(number)? as i32),
            Shape::I64 => Value::from(raw.int(number)?),
            Shape::F64 => JsonNumber::from_f64(raw.float(number)?).map_or(Value::Null, Value::Number),
            Shape::Bytes => Value::String(STANDARD.encode(raw.bytes(number)?)),
            Shape::Quantity => Value::String(first_text(raw.bytes(number)?)?),
            Shape::IntOrString => int_or_string(raw.bytes(number)?)?,
            Shape::Time => time(raw.bytes(number)?)?.map_or(Value::Null, scalar::format_time),
            Shape::MicroTime => time(raw.bytes(number)?)?.map_or(Value::Null, scalar::format_micro_time),
            Shape::Duration => Value::String(duration::format_nanos(first_int(raw.bytes(number)?)?)),
            Shape::Any | Shape::FieldsV1 => self.embedded(raw.bytes(number)?, depth)?,
            Shape::Strings => {
                let mut list = Vec::new();
                let mut reader = Reader(raw.bytes(number)?);
                while let Some((field, value)) = reader.field()? {
                    if field == 1 {
                        self.count()?;
                        list.push(Value::String(value.text(field)?));
                    }
                }
                Value::Array(list)
            }
            Shape::List(_) | Shape::Map(_) | Shape::Struct(_) => Value::Null,
        })
    }

    /// JSON, or an object in an envelope of its own, in field 1 of a message.
    fn embedded(&mut self, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
        if depth > MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        let mut raw = [].as_slice();
        let mut reader = Reader(bytes);
        while let Some((field, value)) = reader.field()? {
            if field == 1 {
                raw = value.bytes(field)?;
            }
        }
        if raw.is_empty() {
            Ok(Value::Null)
        } else if raw.starts_with(&MAGIC) {
            self.envelope(raw, depth + 1)
        } else {
            serde_json::from_slice(raw).map_err(|error| ProtobufError::Value(error.to_string()))
        }
    }
}

fn canonical(ty: &'static Type, map: Map<String, Value>) -> Result<Map<String, Value>, ProtobufError> {
    let mut value = Value::Object(map);
    match Schema::global().check_type(ty, &mut value).error {
        Some(error) => Err(ProtobufError::Value(error)),
        None => Ok(if let Value::Object(map) = value {
            map
        } else {
            Map::new()
        }),
    }
}

fn first_text(bytes: &[u8]) -> Result<String, ProtobufError> {
    let mut text = String::new();
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        if field == 1 {
            text = value.text(field)?;
        }
    }
    Ok(if text.is_empty() { "0".to_owned() } else { text })
}

fn first_int(bytes: &[u8]) -> Result<i64, ProtobufError> {
    let mut number = 0;
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        if field == 1 {
            number = value.int(field)?;
        }
    }
    Ok(number)
}

/// 1 type (0 integer, 1 text), 2 integer, 3 text.
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => is_text = value.int(field)? == 1,
            2 => number = value.int(field)?,
            3 => text = value.text(field)?,
            _ => {}
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "protobuf keeps the low 32 bits of an int32"
    )]
    let number = number as i32;
    Ok(if is_text {
        Value::String(text)
    } else {
        Value::from(number)
    })
}

/// 1 seconds since 1970, 2 nanoseconds; an empty message is the zero time.
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => seconds = value.int(field)?,
            2 => nanos = value.int(field)?,
            _ => {}
        }
    }
    let nanos = i32::try_from(nanos).unwrap_or(0);
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|_| ProtobufError::Value("Time.MarshalJSON: year outside of range [0,9999]".to_owned()))
}
