//! Selectors: which objects a list, a watch or a controller means.

mod field;
mod label;
mod label_object;
mod label_parser;

pub use field::{FieldRequirement, FieldSelector, FieldSelectorError};
pub use label::{LabelSelector, Operator, Requirement, SelectorError};
pub use label_object::{NotMatchLabels, as_match_labels, validate as validate_label_selector};
