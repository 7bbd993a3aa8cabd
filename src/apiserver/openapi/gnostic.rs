//! OpenAPI version 2 in protobuf, which kubectl up to 1.28 insists on.
//!
//! The messages are those of gnostic's `OpenAPIv2.proto`; values of any type are written as
//! YAML text there, of which JSON is a part.

use apimachinery::protobuf::Writer;
use serde_json::{Map, Value};

/// What a key of a JSON object becomes.
enum Kind {
    Text,
    Bool,
    /// Every text of a list.
    Texts,
    /// A value as YAML text.
    Any,
    /// Every value of a list as YAML text.
    Anys,
    /// A message.
    Message(fn(&Map<String, Value>, &mut Writer)),
    /// A message that only holds the message.
    Wrapped(fn(&Map<String, Value>, &mut Writer)),
    /// A message for every element of a list.
    Messages(fn(&Map<String, Value>, &mut Writer)),
    /// Names and messages, in a message of their own; the number is that of the entries.
    Named(u32, fn(&Map<String, Value>, &mut Writer)),
    /// The types of a schema: one text or several.
    Types,
}

type Fields = &'static [(&'static str, u32, Kind)];

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    if let Value::Object(map) = document {
        write(map, DOCUMENT, 16, &mut writer);
    }
    writer.into_bytes()
}

const DOCUMENT: Fields = &[
    ("swagger", 1, Kind::Text),
    ("info", 2, Kind::Message(|map, writer| write(map, INFO, 7, writer))),
    (
        "paths",
        8,
        Kind::Named(2, |map, writer| write(map, PATH_ITEM, 10, writer)),
    ),
    ("definitions", 9, Kind::Named(1, schema)),
    ("security", 12, Kind::Messages(requirement)),
    (
        "securityDefinitions",
        13,
        Kind::Named(1, |map, writer| writer.nested(2, |inner| write(map, API_KEY, 5, inner))),
    ),
];

const INFO: Fields = &[("title", 1, Kind::Text), ("version", 2, Kind::Text)];

const API_KEY: Fields = &[
    ("type", 1, Kind::Text),
    ("name", 2, Kind::Text),
    ("in", 3, Kind::Text),
    ("description", 4, Kind::Text),
];

const PATH_ITEM: Fields = &[
    ("get", 2, Kind::Message(operation)),
    ("put", 3, Kind::Message(operation)),
    ("post", 4, Kind::Message(operation)),
    ("delete", 5, Kind::Message(operation)),
    ("patch", 8, Kind::Message(operation)),
    ("parameters", 9, Kind::Messages(parameter)),
];

const OPERATION: Fields = &[
    ("tags", 1, Kind::Texts),
    ("description", 3, Kind::Text),
    ("operationId", 5, Kind::Text),
    ("produces", 6, Kind::Texts),
    ("consumes", 7, Kind::Texts),
    ("parameters", 8, Kind::Messages(parameter)),
    (
        "responses",
        9,
        Kind::Named(1, |map, writer| {
            writer.nested(1, |inner| write(map, RESPONSE, 5, inner))
        }),
    ),
    ("schemes", 10, Kind::Texts),
];

const RESPONSE: Fields = &[("description", 1, Kind::Text), ("schema", 2, Kind::Wrapped(schema))];

const BODY_PARAMETER: Fields = &[
    ("description", 1, Kind::Text),
    ("name", 2, Kind::Text),
    ("in", 3, Kind::Text),
    ("required", 4, Kind::Bool),
    ("schema", 5, Kind::Message(schema)),
];

const QUERY_PARAMETER: Fields = &[
    ("required", 1, Kind::Bool),
    ("in", 2, Kind::Text),
    ("description", 3, Kind::Text),
    ("name", 4, Kind::Text),
    ("type", 6, Kind::Text),
    ("uniqueItems", 20, Kind::Bool),
];

const PATH_PARAMETER: Fields = &[
    ("required", 1, Kind::Bool),
    ("in", 2, Kind::Text),
    ("description", 3, Kind::Text),
    ("name", 4, Kind::Text),
    ("type", 5, Kind::Text),
    ("uniqueItems", 19, Kind::Bool),
];

const SCHEMA: Fields = &[
    ("$ref", 1, Kind::Text),
    ("format", 2, Kind::Text),
    ("description", 4, Kind::Text),
    ("default", 5, Kind::Any),
    ("required", 19, Kind::Texts),
    ("enum", 20, Kind::Anys),
    ("additionalProperties", 21, Kind::Wrapped(schema)),
    ("type", 22, Kind::Types),
    ("items", 23, Kind::Wrapped(schema)),
    ("properties", 25, Kind::Named(1, schema)),
];

fn schema(map: &Map<String, Value>, writer: &mut Writer) {
    write(map, SCHEMA, 31, writer);
}

fn operation(map: &Map<String, Value>, writer: &mut Writer) {
    write(map, OPERATION, 13, writer);
}

/// ParametersItem 1 parameter { 1 body | 2 other { 3 query | 4 path } }.
fn parameter(map: &Map<String, Value>, writer: &mut Writer) {
    writer.nested(1, |writer| match map.get("in").and_then(Value::as_str) {
        Some("body") => writer.nested(1, |inner| write(map, BODY_PARAMETER, 6, inner)),
        Some("path") => writer.nested(2, |other| {
            other.nested(4, |inner| write(map, PATH_PARAMETER, 22, inner))
        }),
        _ => writer.nested(2, |other| {
            other.nested(3, |inner| write(map, QUERY_PARAMETER, 23, inner))
        }),
    });
}

/// SecurityRequirement 1 { 1 name, 2 { 1 scopes } }.
fn requirement(map: &Map<String, Value>, writer: &mut Writer) {
    for name in map.keys() {
        writer.nested(1, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.nested(2, |_| {});
        });
    }
}

/// Writes an object; keys that begin with `x-` go to field `extensions`.
fn write(map: &Map<String, Value>, fields: Fields, extensions: u32, writer: &mut Writer) {
    for (key, number, kind) in fields {
        if let Some(value) = map.get(*key) {
            write_field(value, *number, kind, writer);
        }
    }
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with("x-")) {
        writer.nested(extensions, |entry| {
            entry.bytes(1, key.as_bytes());
            entry.nested(2, |any| any.bytes(2, value.to_string().as_bytes()));
        });
    }
}

fn write_field(value: &Value, number: u32, kind: &Kind, writer: &mut Writer) {
    let items = || value.as_array().into_iter().flatten();
    let object = |write: &fn(&Map<String, Value>, &mut Writer), inner: &mut Writer| {
        if let Value::Object(map) = value {
            write(map, inner);
        }
    };
    match kind {
        Kind::Text => writer.bytes(number, value.as_str().unwrap_or_default().as_bytes()),
        Kind::Bool => writer.int(number, i64::from(value.as_bool().unwrap_or_default())),
        Kind::Texts => items()
            .filter_map(Value::as_str)
            .for_each(|text| writer.bytes(number, text.as_bytes())),
        Kind::Any => writer.nested(number, |any| any.bytes(2, value.to_string().as_bytes())),
        Kind::Anys => items().for_each(|item| writer.nested(number, |any| any.bytes(2, item.to_string().as_bytes()))),
        Kind::Message(write) => writer.nested(number, |inner| object(write, inner)),
        Kind::Wrapped(write) => writer.nested(number, |outer| outer.nested(1, |inner| object(write, inner))),
        Kind::Messages(write) => items()
            .filter_map(Value::as_object)
            .for_each(|map| writer.nested(number, |inner| write(map, inner))),
        Kind::Named(entry, write) => writer.nested(number, |outer| {
            for (name, map) in value
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name, value.as_object()?)))
            {
                outer.nested(*entry, |inner| {
                    inner.bytes(1, name.as_bytes());
                    inner.nested(2, |value| write(map, value));
                });
            }
        }),
        Kind::Types => writer.nested(number, |types| {
            value
                .as_str()
                .into_iter()
                .for_each(|text| types.bytes(1, text.as_bytes()))
        }),
    }
}
