//! What server-side apply must know of types: which lists and maps are one value, and how items are told apart.

use serde_json::{Map, Value};

use super::path::{PathElement, Scalar};
use crate::schema::{Field, ListType, Schema, Shape, Type};

/// The type of a place in an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum TypeRef {
    /// The whole object.
    Root(&'static Type),
    /// A field, with what the table says of it there.
    Field(&'static Field),
    /// An item of a list or an entry of a map.
    Item(&'static Shape),
    /// Something without a schema: what it is follows from its value.
    Deduced,
    /// Something without a schema that is one value.
    Opaque,
}

/// What a value is, to those who walk through it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Atom {
    Scalar(ScalarKind),
    List(ListAtom),
    Map(MapAtom),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    String,
    Bool,
    Number,
    Any,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ListAtom {
    pub(super) items: TypeRef,
    pub(super) relation: Relation,
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Not at all: the list is one value.
    Atomic,
    /// By their values.
    Set,
    /// By one key, which strategic merge patch names.
    MergeKey(&'static str),
    /// By several keys.
    Keys(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct MapAtom {
    /// The fields, if it is a struct.
    fields: Option<&'static Type>,
    /// The type of entries, if it is not.
    entries: Option<TypeRef>,
    pub(super) atomic: bool,
}

impl MapAtom {
    /// The type of a field or entry; `None` if there cannot be one of that name.
    pub(super) fn child(&self, name: &str) -> Option<TypeRef> {
        let field = self.fields.and_then(|ty| ty.field(name)).map(TypeRef::Field);
        field.or(self.entries)
    }

    /// Whether it is a struct that has a field of that name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.fields.is_some_and(|ty| ty.field(name).is_some())
    }
}

impl TypeRef {
    /// The type of objects of a type of the table; deduced if it is not there.
    pub(super) fn of_type(name: &str) -> Self {
        Schema::global().type_by_name(name).map_or(Self::Deduced, Self::Root)
    }

    /// The atom of a value (`None`: absent) of this type.
    pub(super) fn atom(self, value: Option<&Value>) -> Atom {
        let granular = |ty| {
            Atom::Map(MapAtom {
                fields: Some(ty),
                entries: None,
                atomic: ty.atomic,
            })
        };
        match self {
            Self::Root(ty) => granular(ty),
            Self::Item(shape) => shape_atom(shape, value),
            Self::Field(field) => field_atom(field, value),
            Self::Deduced => deduced_atom(value, false),
            Self::Opaque => deduced_atom(value, true),
        }
    }
}

fn deduced_atom(value: Option<&Value>, atomic: bool) -> Atom {
    let entries = if atomic { TypeRef::Opaque } else { TypeRef::Deduced };
    match value {
        Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) => Atom::Scalar(ScalarKind::Any),
        Some(Value::Array(_)) => Atom::List(ListAtom {
            items: TypeRef::Opaque,
            relation: Relation::Atomic,
        }),
        _ => Atom::Map(MapAtom {
            fields: None,
            entries: Some(entries),
            atomic,
        }),
    }
}

fn shape_atom(shape: &'static Shape, value: Option<&Value>) -> Atom {
    match shape {
        Shape::String | Shape::Bytes => Atom::Scalar(ScalarKind::String),
        Shape::Bool => Atom::Scalar(ScalarKind::Bool),
        Shape::I32 | Shape::I64 | Shape::F64 => Atom::Scalar(ScalarKind::Number),
        // OpenAPI gives it two types, of which server-side apply knows none.
        Shape::IntOrString => deduced_atom(value, true),
        Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration => Atom::Scalar(ScalarKind::Any),
        // Free JSON is one value.
        Shape::Any => deduced_atom(value, true),
        Shape::FieldsV1 => Atom::Map(MapAtom {
            fields: None,
            entries: Some(TypeRef::Deduced),
            atomic: false,
        }),
        Shape::Strings => Atom::List(ListAtom {
            items: TypeRef::Item(&Shape::String),
            relation: Relation::Atomic,
        }),
        Shape::List(items) => Atom::List(ListAtom {
            items: TypeRef::Item(items),
            relation: Relation::Atomic,
        }),
        Shape::Map(entries) => Atom::Map(MapAtom {
            fields: None,
            entries: Some(TypeRef::Item(entries)),
            atomic: false,
        }),
        Shape::Struct(id) => {
            let ty = Schema::global().get(*id);
            Atom::Map(MapAtom {
                fields: Some(ty),
                entries: None,
                atomic: ty.atomic,
            })
        }
    }
}

fn field_atom(field: &'static Field, value: Option<&Value>) -> Atom {
    match shape_atom(&field.shape, value) {
        Atom::List(list) => Atom::List(ListAtom {
            relation: relation(field),
            ..list
        }),
        Atom::Map(map) => Atom::Map(MapAtom {
            atomic: (map.atomic && !field.struct_granular) || field.map_atomic || field.struct_atomic,
            ..map
        }),
        scalar => scalar,
    }
}

/// The list type, or what the strategic merge patch strategy says in its place.
fn relation(field: &'static Field) -> Relation {
    match (field.list, field.merge_key) {
        (Some(ListType::Set), _) => Relation::Set,
        (Some(ListType::Map), _) => Relation::Keys(&field.list_keys),
        (None, Some(key)) if field.patch.merge => Relation::MergeKey(key),
        (None, None) if field.patch.merge => Relation::Set,
        _ => Relation::Atomic,
    }
}

/// Why an item cannot be told apart from others, with kube's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ItemError {
    #[error("associative list with keys may not have a null element")]
    NullElement,
    #[error("associative list with keys may not have non-map elements")]
    NotAMap,
    #[error(
        "associative list with keys has an element that omits all key fields {0} (and doesn't have default values for any key fields)"
    )]
    NoKeys(String),
    #[error("associative list without keys has an element that's a map type")]
    MapInSet,
    #[error("not supported: associative list with lists as elements")]
    ListInSet,
    #[error("associative list without keys has an element that's an explicit null")]
    NullInSet,
}

impl ListAtom {
    /// The path element of an item. Keys that are not set have their defaults.
    pub(super) fn element(&self, item: &Value) -> Result<PathElement, ItemError> {
        match &self.relation {
            Relation::Atomic | Relation::Set => match item {
                Value::Object(_) => Err(ItemError::MapInSet),
                Value::Array(_) => Err(ItemError::ListInSet),
                Value::Null => Err(ItemError::NullInSet),
                scalar => Ok(PathElement::Value(Scalar(scalar.clone()))),
            },
            Relation::MergeKey(key) => self.keyed(item, &[key]),
            Relation::Keys(keys) => self.keyed(item, keys),
        }
    }

    fn keyed(&self, item: &Value, keys: &[&str]) -> Result<PathElement, ItemError> {
        let item: &Map<String, Value> = match item {
            Value::Object(item) => item,
            Value::Null => return Err(ItemError::NullElement),
            _ => return Err(ItemError::NotAMap),
        };
        let default = |key: &str| match self.items.atom(None) {
            Atom::Map(MapAtom { fields: Some(ty), .. }) => ty.field(key).and_then(key_default),
            _ => None,
        };
        let mut found: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                Some((
                    (*key).to_owned(),
                    Scalar(item.get(*key).cloned().or_else(|| default(key))?),
                ))
            })
            .collect();
        if found.is_empty() {
            let names: Vec<_> = keys.iter().map(|key| crate::text::go_quote(key)).collect();
            return Err(ItemError::NoKeys(format!("[{}]", names.join(" "))));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(PathElement::Key(found))
    }
}

/// What a key is where it is not set: its default, or the zero of a field that is always written.
fn key_default(field: &Field) -> Option<Value> {
    let zero = || match &field.shape {
        Shape::String => Some("".into()),
        Shape::I32 | Shape::I64 => Some(0.into()),
        _ => None,
    };
    field
        .default
        .clone()
        .or_else(|| if field.always { zero() } else { None })
}

/// Equality of values: numbers by value, maps in any order.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Scalar(a.clone()) == Scalar(b.clone()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (a, b) => a == b,
    }
}
