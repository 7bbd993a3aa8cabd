//! Label selectors as objects have them: `matchLabels` and `matchExpressions`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::label::{LabelSelector, Operator, Requirement, SelectorError};
use crate::{
    field::{self, ErrorList},
    meta::string_entries,
    names,
    text::go_quote,
};

struct Expression<'a> {
    key: &'a str,
    operator: &'a str,
    values: Vec<String>,
}

fn expressions(selector: &Value) -> impl Iterator<Item = Expression<'_>> {
    let list = selector.get("matchExpressions").and_then(Value::as_array);
    list.into_iter().flatten().map(|expression| {
        let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or("");
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
        Expression {
            key: text("key"),
            operator: text("operator"),
            values,
        }
    })
}

impl LabelSelector {
    /// Reads a `metav1.LabelSelector`. An absent (or null) one selects nothing, an empty one everything.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in string_entries(selector.get("matchLabels")) {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.to_owned()])?);
        }
        for Expression { key, operator, values } in expressions(selector) {
            let operator = match operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{} is not a valid label selector operator",
                        go_quote(other)
                    )));
                }
            };
            requirements.push(Requirement::new(key, operator, values)?);
        }
        Ok(Self::all_of(requirements))
    }
}

/// Errors of a `metav1.LabelSelector` at `path`.
#[must_use]
pub fn validate(selector: &Value, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let labels_path = format!("{path}.matchLabels");
    for (key, value) in string_entries(selector.get("matchLabels")) {
        crate::validation::label(key, value, &labels_path, &mut errors);
    }
    for (i, Expression { key, operator, values }) in expressions(selector).enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(field::required(
                    format!("{path}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(field::forbidden(format!("{path}.values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(field::invalid(
                format!("{path}.operator"),
                &other.into(),
                "not a valid selector operator",
            )),
        }
        for message in names::qualified_name(key) {
            errors.push(field::invalid(format!("{path}.key"), &key.into(), &message));
        }
        for (j, value) in values.iter().enumerate() {
            for message in names::label_value(value) {
                errors.push(field::invalid(
                    format!("{path}.values[{j}]"),
                    &value.clone().into(),
                    &message,
                ));
            }
        }
    }
    errors
}

/// A selector that says more than labels can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operator {} cannot be converted into the old label selector format", go_quote(.operator))]
pub struct NotMatchLabels {
    /// The operator, as `NotIn`.
    pub operator: String,
}

/// The labels that a selector demands, if that is all it says.
///
/// # Errors
/// When it has an expression other than `In` with a single value.
pub fn as_match_labels(selector: &Value) -> Result<BTreeMap<String, String>, NotMatchLabels> {
    let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    let mut labels: BTreeMap<_, _> = string_entries(selector.get("matchLabels")).map(own).collect();
    for Expression {
        key,
        operator,
        mut values,
    } in expressions(selector)
    {
        match (operator, values.len()) {
            ("In", 1) => labels.insert(key.to_owned(), values.remove(0)),
            _ => {
                return Err(NotMatchLabels {
                    operator: operator.to_owned(),
                });
            }
        };
    }
    Ok(labels)
}
