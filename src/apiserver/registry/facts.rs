//! What selectors look at, read from an object without building it where that is enough.

use std::collections::BTreeMap;

use apimachinery::{
    Object,
    selector::{FieldSelector, LabelSelector},
    status::Status,
};
use serde::Deserialize;

use super::Resource;
use crate::errors;

/// Name, namespace and labels of an object.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Meta {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Namespace, empty if none.
    #[serde(default)]
    pub namespace: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct OnlyMeta {
    #[serde(default)]
    metadata: Meta,
}

/// What a list or a watch selects.
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    needs_values: bool,
}

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read or name a field the kind has not.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|e| errors::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|e| errors::bad_request(e.to_string()))?;
        let mut needs_values = false;
        for requirement in fields.requirements() {
            let field = requirement.field.as_str();
            if field == "metadata.name" || (field == "metadata.namespace" && resource.namespaced()) {
                continue;
            }
            if !resource.stored.selectable_fields.contains(&field) {
                return Err(unknown_field(resource, &labels.to_string(), &fields.to_string(), field));
            }
            needs_values = true;
        }
        Ok(Self {
            labels,
            fields,
            needs_values,
        })
    }

    /// Only the object of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self {
            labels: LabelSelector::everything(),
            fields: FieldSelector::of_name(name),
            needs_values: false,
        }
    }

    /// The one name that can match, if the field selector says so.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value("metadata.name")
    }

    /// The one namespace that can match, if the field selector says so.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.fields.required_value("metadata.namespace")
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object, as stored, is selected.
    #[must_use]
    pub fn matches(&self, resource: &Resource, value: &[u8]) -> bool {
        if self.is_everything() {
            return true;
        }
        let Ok(OnlyMeta { metadata }) = serde_json::from_slice::<OnlyMeta>(value) else {
            return false;
        };
        if !self.labels.matches(|key| metadata.labels.get(key).map(String::as_str)) {
            return false;
        }
        let values = if self.needs_values {
            let object: Object = serde_json::from_slice(value).unwrap_or_default();
            resource.stored.strategy.selectable_values(&object)
        } else {
            Vec::new()
        };
        self.fields.matches(|field| match field {
            "metadata.name" => Some(metadata.name.as_str()),
            "metadata.namespace" => Some(metadata.namespace.as_str()),
            field => {
                let index = resource.stored.selectable_fields.iter().position(|f| *f == field)?;
                values.get(index).map(String::as_str)
            }
        })
    }
}

fn unknown_field(resource: &Resource, labels: &str, fields: &str, field: &str) -> Status {
    errors::bad_request(format!(
        "Unable to find {:?} that match label selector {labels:?}, field selector {fields:?}: field label not supported: {field}",
        format!("{}, Resource={}", resource.def.api_version(), resource.def.resource),
    ))
}
