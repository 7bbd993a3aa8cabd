//! What every served type looks like: the one description that decoding, protobuf, patches,
//! server-side apply and OpenAPI are driven by.
//!
//! The facts stand in two tables, `kubernetes.txt` (generated) and `federation.txt` (by hand);
//! the header of the first explains the format. They are parsed once, at first use, and are
//! borrowed from then on.

mod check;
mod embedded;
mod raw;
pub(crate) mod scalar;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use check::{Report, converter_words};
pub(crate) use raw::{MAX_LISTED, MAX_VALUES};
pub use raw::{Raw, RawError, decode_json, decode_yaml};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut builder = table::Builder::default();
    builder.read(include_str!("kubernetes.txt"));
    builder.read(include_str!("federation.txt"));
    builder.finish()
});

/// Every known type, by name and by group, version and kind.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<&'static str, TypeId>,
    by_kind: HashMap<(&'static str, &'static str), TypeId>,
    kinds: Vec<(&'static str, &'static str, TypeId)>,
}

/// A type of the table.
#[derive(Debug)]
pub struct Type {
    /// Full name, as `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// Whether server-side apply treats it as one value wherever it stands.
    pub atomic: bool,
    /// Fields in the order in which they are written.
    pub fields: Vec<Field>,
    index: HashMap<&'static str, usize>,
    numbers: HashMap<Number, usize>,
    wire_order: Vec<usize>,
}

/// Refers to a [`Type`] of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// Where protobuf has a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// Protobuf does not carry it (`kind` and `apiVersion` of objects).
    Absent,
    /// A field of the message itself.
    Direct(u32),
    /// A field of a message in a field: JSON writes the inner message's fields inline.
    Nested(u32, u32),
}

/// How strategic merge patches treat a list or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists are merged by key or by value instead of replaced.
    pub merge: bool,
    /// `$retainKeys` is honoured.
    pub retain_keys: bool,
}

/// How server-side apply sees a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// One value.
    #[default]
    Atomic,
    /// A set of scalars.
    Set,
    /// Elements are known by their keys ([`Field::list_keys`]).
    Map,
}

/// The shape of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    String,
    /// `true` or `false`.
    Bool,
    /// Integer of 32 bits.
    I32,
    /// Integer of 64 bits.
    I64,
    /// Floating point.
    F64,
    /// Bytes, in JSON as base64.
    Bytes,
    /// Resource quantity, as `100m`.
    Quantity,
    /// Integer or text.
    IntOrString,
    /// Time of second precision.
    Time,
    /// Time of microsecond precision.
    MicroTime,
    /// Length of time, as `1h0m0s`.
    Duration,
    /// Any JSON.
    Any,
    /// A set of fields, as managed fields keep it.
    FieldsV1,
    /// List of texts that protobuf wraps in a message.
    Strings,
    /// List.
    List(Box<Shape>),
    /// Map by text.
    Map(Box<Shape>),
    /// Type of the table.
    Struct(TypeId),
}

/// A field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Place in protobuf.
    pub number: Number,
    /// Shape of the value.
    pub shape: Shape,
    /// Required by OpenAPI.
    pub required: bool,
    /// A set zero is kept; without it a zero counts as unset.
    pub pointer: bool,
    /// Written even if it is zero.
    pub always: bool,
    /// Strategic merge patch.
    pub patch: PatchStrategy,
    /// Key that strategic merge patches merge a list by.
    pub merge_key: Option<&'static str>,
    /// Server-side apply's view of a list; `None` if the table says nothing (then atomic).
    pub list: Option<ListType>,
    /// Keys of a [`ListType::Map`].
    pub list_keys: Vec<&'static str>,
    /// Server-side apply treats the map as one value.
    pub map_atomic: bool,
    /// Server-side apply treats the struct as one value here.
    pub struct_atomic: bool,
    /// Whether the members of the struct are owned one by one although those of its type are not.
    pub struct_granular: bool,
    /// Default that OpenAPI names.
    pub default: Option<serde_json::Value>,
    /// Values that OpenAPI lists.
    pub values: Vec<&'static str>,
    pub(crate) go: Option<&'static str>,
}

impl Schema {
    /// The schema of everything that is served.
    #[must_use]
    pub fn global() -> &'static Self {
        &SCHEMA
    }

    /// Looks a type up by its full name.
    #[must_use]
    pub fn type_by_name(&self, name: &str) -> Option<&Type> {
        self.by_name.get(name).map(|id| self.get(*id))
    }

    /// Looks a kind's type up; `api_version` as objects carry it (`v1`, `apps/v1`).
    ///
    /// Options and watch events are part of every group and version.
    #[must_use]
    pub fn type_of(&self, api_version: &str, kind: &str) -> Option<&Type> {
        let everywhere = kind.ends_with("Options") || kind == "WatchEvent";
        let id = self
            .by_kind
            .get(&(api_version, kind))
            .or_else(|| self.by_kind.get(&("meta.k8s.io/v1", kind)).filter(|_| everywhere));
        id.map(|id| self.get(*id))
    }

    /// Every kind: apiVersion, kind and type.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str, &Type)> {
        self.kinds.iter().map(|(gv, kind, id)| (*gv, *kind, self.get(*id)))
    }

    /// The type that `id` refers to.
    #[must_use]
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }
}

impl Type {
    /// Looks a field up by its JSON name; case counts.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index.get(name).map(|i| &self.fields[*i])
    }

    /// Position of a field in [`Type::fields`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Looks a field up by its place in protobuf.
    #[must_use]
    pub fn field_by_number(&self, number: Number) -> Option<&Field> {
        self.numbers.get(&number).map(|i| &self.fields[*i])
    }

    /// Whether protobuf field `outer` is a message whose fields JSON writes inline.
    #[must_use]
    pub fn has_nested(&self, outer: u32) -> bool {
        self.fields
            .iter()
            .any(|field| matches!(field.number, Number::Nested(o, _) if o == outer))
    }

    /// Fields by ascending number, those of a nested message together.
    pub fn by_number(&self) -> impl Iterator<Item = &Field> {
        self.wire_order.iter().map(|i| &self.fields[*i])
    }

    /// Name as decoding errors write it, as `v1.PodSpec`.
    #[must_use]
    pub fn go_name(&self) -> &'static str {
        let mut dots = self.name.rmatch_indices('.');
        dots.next();
        dots.next().map_or(self.name, |(at, _)| &self.name[at + 1..])
    }

    /// Last part of the name, as `PodSpec`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

impl Shape {
    /// The type behind a struct, or behind the elements of a list or map of structs.
    #[must_use]
    pub fn element_type(&self) -> Option<&'static Type> {
        match self {
            Self::Struct(id) => Some(Schema::global().get(*id)),
            Self::List(inner) | Self::Map(inner) => inner.element_type(),
            _ => None,
        }
    }
}
