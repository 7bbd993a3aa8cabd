//! Decoding as kube-apiserver does it: structural checks and the canonical form, in one pass.
//!
//! A client's object goes in as plain JSON. What comes out is what kube-apiserver would write
//! after decoding it: known fields only, in the order of the type, scalars in canonical form,
//! nulls and meaningless zeros left out, and structs that are always written there even if
//! empty. What was dropped or wrong is told in a [`Report`], in kube-apiserver's words.

use serde_json::{Map, Value};

use super::{Field, Schema, Shape, Type, embedded, scalar};

/// Errors of strict decoding after which no more are collected.
const MAX_UNKNOWN: usize = 100;

/// What [`Schema::check`] found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Paths of fields that the type does not have, in the order of the document.
    pub unknown: Vec<String>,
    /// The first value that does not fit, in the decoder's words
    /// (`json: cannot unmarshal string into Go struct field … of type int32`).
    pub error: Option<String>,
}

impl Report {
    /// The unknown fields in the words of strict decoding (`unknown field "spec.foo"`).
    pub fn strict_errors(&self) -> impl Iterator<Item = String> {
        self.unknown.iter().map(|path| format!("unknown field {path:?}"))
    }
}

impl Schema {
    /// Checks an object against its kind's type and brings it into canonical form.
    ///
    /// Answers `None` if the table does not have the kind; then the object is left alone.
    pub fn check(&self, api_version: &str, kind: &str, object: &mut Value) -> Option<Report> {
        self.type_of(api_version, kind).map(|ty| self.check_type(ty, object))
    }

    /// The same for any type.
    pub fn check_type(&self, ty: &Type, value: &mut Value) -> Report {
        let mut pass = Pass {
            schema: self,
            report: Report::default(),
            path: String::new(),
            names: String::new(),
            owner: None,
        };
        match value {
            Value::Object(map) => pass.fields(ty, map),
            Value::Null => *value = pass.zero_struct(ty),
            other => {
                let message = format!(
                    "json: cannot unmarshal {} into Go value of type {}",
                    json_type(other),
                    ty.go_name()
                );
                pass.report.error = Some(message);
            }
        }
        pass.report
    }
}

/// What the converter, which strategic merge patches go through, says where the JSON decoder says `error`
/// ([`Report::error`]); `None` if it says the same.
#[must_use]
pub fn converter_words(error: &str) -> Option<String> {
    let (head, wanted) = error
        .strip_prefix("json: cannot unmarshal ")?
        .rsplit_once(" of type ")?;
    let (kind, name) = match head.split(' ').next()? {
        "string" => ("string", "string"),
        "bool" => ("bool", "bool"),
        "number" => ("int64", "int64"),
        "array" => ("slice", "[]interface {}"),
        "object" => ("map", "map[string]interface {}"),
        _ => return None,
    };
    if wanted.starts_with("[]") {
        return Some(format!("cannot restore slice from {kind}"));
    }
    if wanted.starts_with("map[") {
        return Some(format!("cannot restore map from {kind}"));
    }
    let is_struct = Schema::global().types.iter().any(|ty| ty.go_name() == wanted);
    Some(if is_struct {
        format!("cannot restore struct from: {kind}")
    } else {
        format!("cannot convert {name} to {wanted}")
    })
}

struct Pass<'a> {
    schema: &'a Schema,
    report: Report,
    /// Path with indexes, as strict errors have it.
    path: String,
    /// Path of field names only, as type errors have it.
    names: String,
    owner: Option<&'a Type>,
}

/// Name of the Go type that errors call a value by.
struct GoType<'a> {
    shape: &'a Shape,
    text: Option<&'a str>,
}

impl GoType<'_> {
    fn write(&self, schema: &Schema) -> String {
        if let Some(text) = self.text {
            return text.to_owned();
        }
        let name = match self.shape {
            Shape::String => "string",
            Shape::Bool => "bool",
            Shape::I32 => "int32",
            Shape::I64 => "int64",
            Shape::F64 => "float64",
            Shape::Bytes => "[]uint8",
            Shape::Quantity => "resource.Quantity",
            Shape::IntOrString => "intstr.IntOrString",
            Shape::Time => "v1.Time",
            Shape::MicroTime => "v1.MicroTime",
            Shape::Duration => "v1.Duration",
            Shape::Any => "runtime.RawExtension",
            Shape::FieldsV1 => "v1.FieldsV1",
            Shape::Strings => "v1.ExtraValue",
            Shape::Struct(id) => schema.get(*id).go_name(),
            Shape::List(inner) => {
                return format!(
                    "[]{}",
                    GoType {
                        shape: inner,
                        text: None
                    }
                    .write(schema)
                );
            }
            Shape::Map(inner) => {
                return format!(
                    "map[string]{}",
                    GoType {
                        shape: inner,
                        text: None
                    }
                    .write(schema)
                );
            }
        };
        name.to_owned()
    }

    /// The same for the elements of a list or map.
    fn element<'b>(&'b self, shape: &'b Shape) -> GoType<'b> {
        let text = self.text.and_then(|text| match self.shape {
            Shape::List(_) => text.strip_prefix("[]"),
            Shape::Map(_) => text.split_once(']').map(|(_, element)| element),
            _ => None,
        });
        GoType { shape, text }
    }
}

impl<'a> Pass<'a> {
    fn fields(&mut self, ty: &'a Type, map: &mut Map<String, Value>) {
        let outer = self.owner.replace(ty);
        let mut found: Vec<Option<Value>> = vec![None; ty.fields.len()];
        for (name, mut value) in std::mem::take(map) {
            let Some(at) = ty.position(&name) else {
                self.unknown(&name);
                continue;
            };
            let field = &ty.fields[at];
            let (path, names) = self.enter(&name);
            let fits = self.value(&field.shape, field.go, &mut value);
            self.path.truncate(path);
            self.names.truncate(names);
            if fits {
                found[at] = Some(value);
            }
        }
        for (field, value) in ty.fields.iter().zip(found) {
            if let Some(value) = self.written(field, value) {
                map.insert(field.name.to_owned(), value);
            }
        }
        self.owner = outer;
    }

    /// What is written for a field: canonical value, explicit zero, or nothing.
    fn written(&mut self, field: &'a Field, value: Option<Value>) -> Option<Value> {
        let value = value.filter(|value| !value.is_null());
        if field.pointer {
            return value.or(if field.always { Some(Value::Null) } else { None });
        }
        if field.always {
            return Some(value.unwrap_or_else(|| self.zero(&field.shape)));
        }
        value.filter(|value| !is_zero(&field.shape, value))
    }

    fn zero(&mut self, shape: &'a Shape) -> Value {
        match shape {
            Shape::String => Value::String(String::new()),
            Shape::Bool => Value::Bool(false),
            Shape::I32 | Shape::I64 | Shape::F64 | Shape::IntOrString => Value::from(0),
            Shape::Quantity => Value::from("0"),
            Shape::Duration => Value::from("0s"),
            Shape::Struct(id) => self.zero_struct(self.schema.get(*id)),
            Shape::FieldsV1
            | Shape::Any
            | Shape::Time
            | Shape::MicroTime
            | Shape::Bytes
            | Shape::Strings
            | Shape::List(_)
            | Shape::Map(_) => Value::Null,
        }
    }

    fn zero_struct(&mut self, ty: &'a Type) -> Value {
        let mut map = Map::new();
        self.fields(ty, &mut map);
        Value::Object(map)
    }

    fn enter(&mut self, name: &str) -> (usize, usize) {
        let lengths = (self.path.len(), self.names.len());
        let within = self.owner.and_then(|ty| embedded::struct_of(ty.short_name(), name));
        push(&mut self.path, name);
        within
            .into_iter()
            .chain([name])
            .for_each(|name| push(&mut self.names, name));
        lengths
    }

    fn unknown(&mut self, name: &str) {
        if self.report.unknown.len() >= MAX_UNKNOWN {
            return;
        }
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        if !self.report.unknown.contains(&path) {
            self.report.unknown.push(path);
        }
    }

    fn fail(&mut self, message: impl FnOnce(&Self) -> String) {
        if self.report.error.is_none() {
            self.report.error = Some(message(self));
        }
    }

    fn mismatch(&mut self, value: &Value, go: &GoType<'_>) {
        self.mismatch_text(json_type(value), &go.write(self.schema));
    }

    fn mismatch_text(&mut self, found: &str, wanted: &str) {
        self.fail(|pass| match pass.owner {
            Some(ty) => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
                ty.short_name(),
                pass.names
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        });
    }

    /// Checks one value; `false` if it does not fit and counts as unset.
    fn value(&mut self, shape: &'a Shape, go: Option<&str>, value: &mut Value) -> bool {
        let before = self.report.error.is_some();
        self.shaped(&GoType { shape, text: go }, shape, value);
        before || self.report.error.is_none()
    }

    fn shaped(&mut self, go: &GoType<'_>, shape: &'a Shape, value: &mut Value) {
        if value.is_null() {
            return;
        }
        match shape {
            Shape::String if value.is_string() => {}
            Shape::Bool if value.is_boolean() => {}
            Shape::I32 | Shape::I64 if value.is_number() => self.integer(shape, go, value),
            Shape::F64 if value.is_number() => scalar::shorten_float(value),
            Shape::Struct(id) => match value {
                Value::Object(map) => self.fields(self.schema.get(*id), map),
                other => self.mismatch(other, go),
            },
            Shape::List(inner) => match value {
                Value::Array(items) => self.items(inner, go, items),
                other => self.mismatch(other, go),
            },
            Shape::Strings => match value {
                Value::Array(items) => self.items(&Shape::String, go, items),
                other => self.mismatch(other, go),
            },
            Shape::Map(inner) => match value {
                Value::Object(map) => self.entries(inner, go, map),
                other => self.mismatch(other, go),
            },
            Shape::Any | Shape::FieldsV1 => {}
            Shape::Bytes | Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration => {
                self.parsed(shape, go, value)
            }
            Shape::IntOrString => match value {
                Value::String(_) => {}
                Value::Number(_) => self.integer(
                    &Shape::I32,
                    &GoType {
                        shape: &Shape::I32,
                        text: None,
                    },
                    value,
                ),
                other => self.mismatch(
                    other,
                    &GoType {
                        shape: &Shape::I32,
                        text: None,
                    },
                ),
            },
            Shape::String | Shape::Bool | Shape::I32 | Shape::I64 | Shape::F64 => self.mismatch(value, go),
        }
    }

    fn integer(&mut self, shape: &Shape, go: &GoType<'_>, value: &Value) {
        let fits = value
            .as_i64()
            .is_some_and(|n| *shape == Shape::I64 || i32::try_from(n).is_ok());
        if !fits {
            let wanted = go.write(self.schema);
            self.mismatch_text(&format!("number {value}"), &wanted);
        }
    }

    fn items(&mut self, inner: &'a Shape, go: &GoType<'_>, items: &mut [Value]) {
        let element = go.element(inner);
        for (index, item) in items.iter_mut().enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.element(&element, inner, item);
            self.path.truncate(length);
        }
    }

    fn entries(&mut self, inner: &'a Shape, go: &GoType<'_>, map: &mut Map<String, Value>) {
        let element = go.element(inner);
        for (key, item) in map.iter_mut() {
            let length = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            self.element(&element, inner, item);
            self.path.truncate(length);
        }
        if !map.keys().is_sorted() {
            map.sort_keys();
        }
    }

    fn element(&mut self, go: &GoType<'_>, inner: &'a Shape, item: &mut Value) {
        if item.is_null() {
            *item = if *inner == Shape::Bytes {
                Value::String(String::new())
            } else {
                self.zero(inner)
            };
        } else {
            self.shaped(go, inner, item);
        }
    }

    /// Scalars that are written as text and have a grammar of their own.
    fn parsed(&mut self, shape: &Shape, go: &GoType<'_>, value: &mut Value) {
        let text = match (&*value, shape) {
            (Value::String(text), _) => text.clone(),
            (Value::Number(number), Shape::Quantity) => number.to_string(),
            (other, Shape::Quantity) => {
                let text = other.to_string();
                self.fail(|_| scalar::quantity(&text).err().unwrap_or_default());
                return;
            }
            (other, Shape::Bytes) => {
                self.mismatch(other, go);
                return;
            }
            (other, _) => {
                self.mismatch(
                    other,
                    &GoType {
                        shape: &Shape::String,
                        text: None,
                    },
                );
                return;
            }
        };
        let canonical = match shape {
            Shape::Quantity => scalar::quantity(&text).map(Value::String),
            Shape::Time => scalar::time(&text),
            Shape::MicroTime => scalar::micro_time(&text),
            Shape::Duration => scalar::duration(&text).map(Value::String),
            _ => scalar::base64(&text).map(Value::String),
        };
        match canonical {
            Ok(canonical) => *value = canonical,
            Err(message) => self.fail(|_| message),
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn is_zero(shape: &Shape, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => *shape != Shape::IntOrString && number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty() && *shape != Shape::Any,
        Value::Object(map) => map.is_empty() && matches!(shape, Shape::Map(_)),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
