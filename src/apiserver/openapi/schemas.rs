//! Schemas of the types, in the dialect of OpenAPI 3.0 that Kubernetes speaks.

use std::collections::BTreeSet;

use apimachinery::schema::{Field, ListType, Schema, Shape, Type};
use serde_json::{Map, Value, json};

use super::{Resource, descriptions};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Types that are scalars or free JSON on the wire but have a name in OpenAPI.
const NAMED: [(Shape, &str, &str); 6] = [
    (
        Shape::Quantity,
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "A number with a suffix of the decimal (m, k, M, G) or binary (Ki, Mi, Gi) system.",
    ),
    (
        Shape::IntOrString,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "A whole number, or a text such as a name or a percentage.",
    ),
    (
        Shape::Time,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "A time to the second, as RFC 3339 writes it.",
    ),
    (
        Shape::MicroTime,
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "A time to the microsecond, as RFC 3339 writes it.",
    ),
    (
        Shape::FieldsV1,
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "A set of fields: a tree whose keys are field names (f:), list keys (k:) or values (v:).",
    ),
    (Shape::Any, "io.k8s.apimachinery.pkg.runtime.RawExtension", "Any JSON."),
];

/// Name of the type of patches.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// A reference to a type's schema.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Collects the types that a document refers to.
#[derive(Debug, Default)]
pub(super) struct Collector {
    roots: BTreeSet<String>,
}

impl Collector {
    /// Notes a type and answers the reference to it.
    pub(super) fn refer(&mut self, name: &str) -> Value {
        self.roots.insert(name.to_owned());
        reference(name)
    }

    /// The schemas of the noted types and of all they refer to. `served` tells which groups
    /// the options are part of.
    pub(super) fn finish(self, served: &[Resource]) -> Value {
        let mut schemas = Map::new();
        let mut queue: Vec<String> = self.roots.into_iter().collect();
        while let Some(name) = queue.pop() {
            if schemas.contains_key(&name) {
                continue;
            }
            let schema = describe(&name, served);
            references(&schema, &mut queue);
            schemas.insert(name, schema);
        }
        schemas.sort_keys();
        Value::Object(schemas)
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value
                    .as_str()
                    .filter(|_| key == "$ref")
                    .and_then(|target| target.rsplit('/').next())
                {
                    Some(name) => found.push(name.to_owned()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn describe(name: &str, served: &[Resource]) -> Value {
    if let Some((shape, _, description)) = NAMED.iter().find(|(_, named, _)| *named == name) {
        return named(shape, description);
    }
    if name == PATCH {
        return json!({"description": "A change to an object, in the form that the media type of the request names.", "type": "object"});
    }
    let schema = Schema::global();
    if let Some(ty) = schema.type_by_name(name) {
        return of_type(ty, served);
    }
    match name.strip_suffix("List").and_then(|item| schema.type_by_name(item)) {
        Some(item) => of_list(item, served),
        None => json!({"type": "object"}),
    }
}

fn named(shape: &Shape, description: &str) -> Value {
    match shape {
        Shape::Quantity => json!({"description": description, "oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::IntOrString => {
            json!({"description": description, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::Time | Shape::MicroTime => json!({"description": description, "type": "string", "format": "date-time"}),
        _ => json!({"description": description, "type": "object"}),
    }
}

/// The group, version and kind of everything that a type is served as.
fn kinds_of(name: &str, suffix: &str, served: &[Resource]) -> Value {
    let of = |group: &str, kind: &str, version: &str| json!({"group": group, "kind": kind, "version": version});
    if name == format!("{META}.DeleteOptions") {
        let versions: BTreeSet<_> = served
            .iter()
            .map(|resource| (resource.group.as_str(), resource.version.as_str()))
            .collect();
        return versions
            .into_iter()
            .map(|(group, version)| of(group, "DeleteOptions", version))
            .collect();
    }
    let known = Schema::global()
        .kinds()
        .filter(|(gv, _, ty)| ty.name == name && !gv.starts_with("meta.k8s.io/"));
    let known = known.map(|(gv, kind, _)| {
        let (group, version) = gv.split_once('/').unwrap_or(("", gv));
        (group, kind, version)
    });
    // A type can be served in more versions than its own.
    let also = served.iter().filter(|resource| resource.type_name == name);
    let also = also.map(|resource| {
        (
            resource.kind.0.as_str(),
            resource.kind.2.as_str(),
            resource.kind.1.as_str(),
        )
    });
    let all: BTreeSet<_> = known.chain(also).collect();
    all.into_iter()
        .map(|(group, kind, version)| of(group, &format!("{kind}{suffix}"), version))
        .collect()
}

fn of_type(ty: &Type, served: &[Resource]) -> Value {
    let mut schema = Map::new();
    if let Some(text) = descriptions::of(ty.name, "") {
        schema.insert("description".to_owned(), text.into());
    }
    schema.insert("type".to_owned(), "object".into());
    let required: Vec<Value> = ty
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.into())
        .collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let mut properties: Map<String, Value> = ty
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), property(ty, field)))
        .collect();
    properties.sort_keys();
    schema.insert("properties".to_owned(), properties.into());
    let kinds = kinds_of(ty.name, "", served);
    if kinds.as_array().is_some_and(|kinds| !kinds.is_empty()) {
        schema.insert("x-kubernetes-group-version-kind".to_owned(), kinds);
    }
    if ty.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    Value::Object(schema)
}

fn of_list(item: &Type, served: &[Resource]) -> Value {
    let own = |field: &str| descriptions::of(&format!("{META}.APIResourceList"), field).unwrap_or_default();
    json!({
        "description": format!("{}List is a list of {} objects.", item.short_name(), item.short_name()),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": own("apiVersion"), "type": "string"},
            "items": {"description": format!("The {} objects.", item.short_name()), "type": "array", "items": reference(item.name)},
            "kind": {"description": own("kind"), "type": "string"},
            "metadata": {"description": "Version of the list, and how to continue it.", "default": {}, "allOf": [reference(&format!("{META}.ListMeta"))]},
        },
        "x-kubernetes-group-version-kind": kinds_of(item.name, "List", served),
    })
}

fn property(ty: &Type, field: &Field) -> Value {
    let mut schema = Map::new();
    let of_its_type = || {
        field
            .shape
            .element_type()
            .and_then(|element| descriptions::of(element.name, ""))
    };
    if let Some(text) = descriptions::of(ty.name, field.name).or_else(of_its_type) {
        schema.insert("description".to_owned(), text.into());
    }
    if let Some(default) = default_of(field) {
        schema.insert("default".to_owned(), default);
    }
    match shape(&field.shape) {
        Value::Object(plain) if plain.contains_key("$ref") => {
            schema.insert("allOf".to_owned(), json!([plain]));
        }
        Value::Object(plain) => schema.extend(plain),
        _ => {}
    }
    if !field.values.is_empty() {
        // The values of a list are those of its elements.
        match schema.get_mut("items").and_then(Value::as_object_mut) {
            Some(items) => items.insert("enum".to_owned(), field.values.clone().into()),
            None => schema.insert("enum".to_owned(), field.values.clone().into()),
        };
    }
    extensions(field, &mut schema);
    Value::Object(schema)
}

fn extensions(field: &Field, schema: &mut Map<String, Value>) {
    let mut add = |name: &str, value: Value| schema.insert(format!("x-kubernetes-{name}"), value);
    if !field.list_keys.is_empty() {
        add("list-map-keys", field.list_keys.clone().into());
    }
    if let Some(list) = field.list {
        let name = match list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        add("list-type", name.into());
    }
    if field.map_atomic || field.struct_atomic {
        add("map-type", "atomic".into());
    }
    if let Some(key) = field.merge_key {
        add("patch-merge-key", key.into());
    }
    let strategy = match (field.patch.merge, field.patch.retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) => return,
    };
    add("patch-strategy", strategy.into());
}

fn default_of(field: &Field) -> Option<Value> {
    if field.default.is_some() {
        return field.default.clone();
    }
    if field.pointer || !field.always {
        return None;
    }
    match field.shape {
        Shape::Struct(_) => Some(json!({})),
        Shape::String => Some(json!("")),
        Shape::Bool => Some(json!(false)),
        Shape::I32 | Shape::I64 | Shape::F64 => Some(json!(0)),
        _ => None,
    }
}

fn shape(shape_: &Shape) -> Value {
    match shape_ {
        Shape::String => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::I32 => json!({"type": "integer", "format": "int32"}),
        Shape::I64 => json!({"type": "integer", "format": "int64"}),
        Shape::F64 => json!({"type": "number", "format": "double"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Duration => json!({"type": "string"}),
        Shape::Strings => json!({"type": "array", "items": {"type": "string"}}),
        Shape::List(inner) => json!({"type": "array", "items": shape(inner)}),
        Shape::Map(inner) => json!({"type": "object", "additionalProperties": shape(inner)}),
        Shape::Struct(id) => reference(Schema::global().get(*id).name),
        named => NAMED
            .iter()
            .find(|(shape, _, _)| shape == named)
            .map_or(Value::Null, |(_, name, _)| reference(name)),
    }
}
