//! Selections: which objects a list or a watch shows.

use apimachinery::{
    selector::{FieldSelector, LabelSelector},
    status::Status,
};

use super::{Resource, cached::Payload};
use crate::errors;

/// What a list or a watch selects.
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read or name a field the kind has not.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|e| errors::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|e| errors::bad_request(e.to_string()))?;
        for requirement in fields.requirements() {
            let field = requirement.field.as_str();
            if field == "metadata.name" || (field == "metadata.namespace" && resource.namespaced()) {
                continue;
            }
            if !resource.stored.selectable_fields.contains(&field) {
                return Err(unknown_field(resource, field));
            }
        }
        Ok(Self { labels, fields })
    }

    /// Only the object of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self {
            labels: LabelSelector::everything(),
            fields: FieldSelector::of_name(name),
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

    /// Whether an object is selected.
    #[must_use]
    pub fn matches(&self, resource: &Resource, object: &Payload) -> bool {
        if !self.labels.is_everything() && !self.labels.matches(|key| object.labels.get(key).map(AsRef::as_ref)) {
            return false;
        }
        self.fields.matches(|field| match field {
            "metadata.name" => Some(&*object.name),
            "metadata.namespace" => Some(&*object.namespace),
            field => {
                let index = resource.stored.selectable_fields.iter().position(|f| *f == field)?;
                object.fields.get(index).map(String::as_str)
            }
        })
    }
}

/// Kinds with fields of their own say it in other words.
fn unknown_field(resource: &Resource, field: &str) -> Status {
    errors::bad_request(match resource.def.kind {
        "Job" => format!("field label {field:?} not supported for Job"),
        "ReplicationController" => format!("field label not supported: {field}"),
        _ if !resource.stored.selectable_fields.is_empty() => format!("field label not supported: {field}"),
        _ => format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    })
}
