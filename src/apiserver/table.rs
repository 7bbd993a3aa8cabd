//! Tables: what `kubectl get` shows.

use api::Column;
use apimachinery::Object;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::Resource;

/// What a row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    Metadata,
    /// The object.
    Object,
}

impl Include {
    /// Reads `includeObject`; unknown values are `None` (they are refused elsewhere).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// `columnDefinitions` of a kind's columns.
#[must_use]
pub fn columns(columns: &[Column]) -> Value {
    let all = columns.iter().map(|c| {
        json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
    });
    Value::Array(all.collect())
}

/// The row of a stored object. `version` is that of `meta.k8s.io`.
#[must_use]
pub fn row(resource: &Resource, object: Object, include: Include, version: &str, now: Timestamp) -> Value {
    let cells = resource.stored.strategy.row(&object, now);
    let conditions = resource.stored.strategy.row_conditions(&object);
    let mut row = json!({"cells": cells});
    if !conditions.is_empty() {
        row["conditions"] = conditions.into();
    }
    row["object"] = match include {
        Include::None => Value::Null,
        Include::Metadata => partial(object, version),
        Include::Object => {
            let mut object = object;
            resource.to_served(&mut object);
            object
        }
    };
    row
}

/// The metadata of an object as PartialObjectMetadata.
#[must_use]
pub fn partial(mut object: Object, version: &str) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata})
}

/// A whole table. `metadata` is that of the list.
#[must_use]
pub fn table(version: &str, metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}
