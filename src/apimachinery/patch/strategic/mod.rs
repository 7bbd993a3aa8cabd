//! Strategic merge patch: a merge patch that knows, from the schema, which lists are merged and by what.
//!
//! Directives: `$patch: replace|delete` in an object, `$patch: replace|delete` items in a list,
//! `$deleteFromPrimitiveList/f`, `$setElementOrder/f` and `$retainKeys`. The order of a merged list follows
//! `$setElementOrder`, then the patch, then the old list (see [`order`]).

mod lists;
mod order;

use serde_json::{Map, Value};

use crate::{
    Object,
    schema::{Field, Schema, Shape, Type},
    text::{go_quote, go_value},
};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Fields = Map<String, Value>;

/// Why a strategic merge patch does not apply, with kube's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch is not an object but this.
    #[error("json: cannot unmarshal {0} into Go value of type map[string]interface {{}}")]
    NotAnObject(&'static str),
    /// The type has no schema.
    #[error("strategic merge patch format is not supported")]
    Unsupported,
    /// `$deleteFromPrimitiveList` without a field.
    #[error("invalid patch format of primitive list")]
    DeleteFromList,
    /// `$retainKeys` that is no list, or does not have all keys of the patch.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` that is no list, or without a field.
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    /// A list in a list.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Items of a list that are not all of one type.
    #[error("list element types are not identical: {0}")]
    ElementTypes(String),
    /// The list of the patch and its `$setElementOrder` contradict each other.
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch {
        /// The list of the patch.
        patch: String,
        /// The order.
        order: String,
    },
    /// An item that cannot be merged for want of its key.
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The item.
        item: String,
        /// The key.
        key: String,
    },
    /// A list of objects that has no merge key.
    #[error("cannot merge lists without merge key for struct")]
    NoKeyDeclared,
    /// `$patch` with another value than `replace` or `delete`.
    #[error("unknown patch type: {directive} in map: {map}")]
    Directive {
        /// The value.
        directive: String,
        /// Where.
        map: String,
    },
    /// `$patch: merge` in a list.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    /// A field that the type does not have.
    #[error("unable to find api field in struct {parent} for the json field {}", go_quote(.field))]
    UnknownField {
        /// Last part of the type's name.
        parent: String,
        /// The field.
        field: String,
    },
    /// Objects in a map that has no fields.
    #[error("merging an object in json but data type is not struct, instead is: map")]
    NotAStruct,
    /// A directive on something that is not a list.
    #[error("expected a []interface {{}}, but received a {0}")]
    NotAList(&'static str),
}

impl StrategicError {
    /// Whether kube calls it the client's fault (400).
    pub(super) fn is_bad_request(&self) -> bool {
        matches!(
            self,
            Self::NotAnObject(_) | Self::Unsupported | Self::DeleteFromList | Self::RetainKeys | Self::ElementOrder
        )
    }

    fn no_key(item: &Value, key: &str) -> Self {
        Self::NoMergeKey {
            item: go_value(item),
            key: key.to_owned(),
        }
    }
}

/// Applies a strategic merge patch to an object of a type of the schema table.
///
/// # Errors
/// When the patch, or a directive in it, does not fit.
pub fn strategic_merge(doc: Object, patch: &Object, type_name: &str) -> Result<Object, super::PatchError> {
    let shape = Schema::global()
        .type_by_name(type_name)
        .ok_or(StrategicError::Unsupported)?;
    let (Value::Object(doc), Value::Object(patch)) = (doc, patch) else {
        return Err(StrategicError::NotAnObject(super::json::type_name(patch)).into());
    };
    Ok(Value::Object(merge_objects(doc, patch.clone(), Parent::Struct(shape))?))
}

/// What the fields of an object are looked up in.
#[derive(Clone, Copy)]
enum Parent {
    Struct(&'static Type),
    /// A map or something without a schema: values can be set, but not merged.
    Other,
}

impl Parent {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Struct(id) => Self::Struct(Schema::global().get(*id)),
            _ => Self::Other,
        }
    }

    fn field(self, name: &str) -> Result<&'static Field, StrategicError> {
        let Self::Struct(parent) = self else {
            return Err(StrategicError::NotAStruct);
        };
        let unknown = || StrategicError::UnknownField {
            parent: parent.short_name().to_owned(),
            field: name.to_owned(),
        };
        parent.field(name).ok_or_else(unknown)
    }
}

/// A list's field, as far as merging is concerned.
#[derive(Clone, Copy)]
struct ListMeta {
    merge: bool,
    key: Option<&'static str>,
    items: Parent,
}

impl ListMeta {
    fn of(field: &'static Field) -> Self {
        let items = match &field.shape {
            Shape::List(item) => Parent::of(item),
            _ => Parent::Other,
        };
        Self {
            merge: field.patch.merge,
            key: field.merge_key,
            items,
        }
    }
}

fn merge_objects(mut doc: Fields, mut patch: Fields, parent: Parent) -> Result<Fields, StrategicError> {
    if let Some(directive) = patch.shift_remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => {
                let text = go_value(&directive);
                patch.insert(DIRECTIVE.to_owned(), directive);
                Err(StrategicError::Directive {
                    directive: text,
                    map: go_value(&Value::Object(patch)),
                })
            }
        };
    }
    if let Some(keys) = patch.shift_remove(RETAIN_KEYS) {
        retain_keys(&mut doc, &patch, &keys)?;
    }
    lists::merge_ordered(&mut doc, &mut patch, parent)?;
    for (key, value) in patch {
        if key.starts_with(DELETE_FROM_LIST) {
            lists::delete_items(&mut doc, &key, &value)?;
        } else {
            merge_field(&mut doc, key, value, parent)?;
        }
    }
    Ok(doc)
}

fn merge_field(doc: &mut Fields, key: String, value: Value, parent: Parent) -> Result<(), StrategicError> {
    if value.is_null() {
        doc.shift_remove(&key);
        return Ok(());
    }
    let merged = match (doc.get_mut(&key).map(Value::take), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let field = parent.field(&key)?;
            Some(Value::Object(merge_objects(old, new, Parent::of(&field.shape))?))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let meta = ListMeta::of(parent.field(&key)?);
            Some(Value::Array(if meta.merge {
                lists::merge(old, new, meta)?
            } else {
                new
            }))
        }
        (_, new) => without_directives(without_nulls(new)),
    };
    match merged {
        Some(merged) => doc.insert(key, merged),
        None => doc.shift_remove(&key),
    };
    Ok(())
}

/// Leaves only the listed keys, which must cover what the patch sets.
fn retain_keys(doc: &mut Fields, patch: &Fields, keys: &Value) -> Result<(), StrategicError> {
    let keys = keys.as_array().ok_or(StrategicError::RetainKeys)?;
    let listed = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let exempt = |key: &str| key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !exempt(key) && !listed(key))
    {
        return Err(StrategicError::RetainKeys);
    }
    doc.retain(|key, _| listed(key));
    Ok(())
}

/// Takes nulls out of objects: in something new there is nothing they could delete.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Takes out every object that has a directive: in something new there is nothing it could direct.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(k, v)| Some((k, without_directives(v)?)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// The field that a directive such as `$setElementOrder/containers` is about.
fn directed_field(key: &str, prefix: &str) -> Option<String> {
    key.split_once('/')
        .filter(|(name, _)| *name == prefix)
        .map(|(_, field)| field.to_owned())
}

#[cfg(test)]
mod tests;
