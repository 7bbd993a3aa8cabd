//! Which clusters an object goes to: the JSON of the cluster selector annotation.
//!
//! `[{"key", "operator", "values"}]`, all of which the labels of a Cluster must meet; an empty list means every cluster.
//! Operators have Kubernetes' meaning and the original's spellings.

use apimachinery::{Object, names};
use serde_json::Value;

use crate::{
    json::{items, text},
    well_known,
};

/// Why a cluster selector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// The JSON is not a list of requirements.
    #[error("must be a list of {{\"key\", \"operator\", \"values\"}}, not {0}")]
    Shape(String),
    /// A requirement is not a good one.
    #[error("[{index}].{field}: {problem}")]
    Requirement {
        /// Position in the list.
        index: usize,
        /// `key`, `operator` or `values`.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a label must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// One of the values: `in`, `=`, `==`.
    In,
    /// None of the values, or absent: `notin`, `!=`.
    NotIn,
    /// There: `exists`.
    Exists,
    /// Not there: `!`, `DoesNotExist`.
    DoesNotExist,
    /// A whole number greater than the value: `gt`, `>`.
    GreaterThan,
    /// A whole number less than the value: `lt`, `<`.
    LessThan,
}

/// One requirement on the labels of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether labels meet the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_value(labels[&self.key].as_str())
    }

    /// Whether the value of its label meets the requirement; `None` if the label is absent.
    #[must_use]
    pub fn matches_value(&self, label: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = || self.values.first().and_then(|v| number(v));
        match (self.operator, label) {
            (Operator::In, Some(label)) => self.values.iter().any(|v| v == label),
            (Operator::NotIn, Some(label)) => !self.values.iter().any(|v| v == label),
            (Operator::NotIn | Operator::DoesNotExist, None) => true,
            (Operator::Exists, label) => label.is_some(),
            (Operator::GreaterThan, Some(label)) => number(label).zip(limit()).is_some_and(|(a, b)| a > b),
            (Operator::LessThan, Some(label)) => number(label).zip(limit()).is_some_and(|(a, b)| a < b),
            (Operator::DoesNotExist, Some(_)) | (Operator::In | Operator::GreaterThan | Operator::LessThan, None) => {
                false
            }
        }
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, values) = (&self.key, self.values.join(", "));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} not in ({values})"),
            Operator::Exists => write!(f, "{key} exists"),
            Operator::DoesNotExist => write!(f, "{key} does not exist"),
            Operator::GreaterThan => write!(f, "{key} > {values}"),
            Operator::LessThan => write!(f, "{key} < {values}"),
        }
    }
}

/// Which clusters an object goes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterSelector {
    /// All of these must be met; none means every cluster.
    pub requirements: Vec<Requirement>,
}

impl ClusterSelector {
    /// Reads the value of the annotation.
    ///
    /// # Errors
    /// The text is not JSON or a requirement is not a good one by Kubernetes' rules for label selectors.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(text).map_err(Error::Syntax)?;
        Ok(Self {
            requirements: requirements(&value)?,
        })
    }

    /// The selector an object carries; without the annotation, one that matches every cluster.
    ///
    /// # Errors
    /// As [`ClusterSelector::parse`].
    pub fn of(object: &Object) -> Result<Self, Error> {
        match object["metadata"]["annotations"][well_known::CLUSTER_SELECTOR].as_str() {
            Some(text) => Self::parse(text),
            None => Ok(Self::default()),
        }
    }

    /// Whether a cluster with these labels (a JSON object of strings) is meant.
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }
}

/// Reads a list of requirements.
///
/// # Errors
/// As [`ClusterSelector::parse`].
pub fn requirements(value: &Value) -> Result<Vec<Requirement>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, item)| requirement(index, item))
            .collect(),
        other => Err(Error::Shape(other.to_string())),
    }
}

fn member<'a>(item: &'a Value, name: &str) -> &'a Value {
    let found = item
        .as_object()
        .and_then(|map| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
    found.map_or(&Value::Null, |(_, value)| value)
}

fn requirement(index: usize, item: &Value) -> Result<Requirement, Error> {
    let bad = |field: &'static str, problem: &str| Error::Requirement {
        index,
        field,
        problem: problem.to_owned(),
    };
    if !item.is_object() {
        return Err(Error::Shape(item.to_string()));
    }
    let key = text(member(item, "key")).to_owned();
    if let Some(problem) = names::qualified_name(&key).first() {
        return Err(bad("key", problem));
    }
    let spelled = text(member(item, "operator"));
    let Some(operator) = operator(spelled) else {
        return Err(bad("operator", &format!("{spelled:?} is not a valid operator")));
    };
    let given = member(item, "values");
    if !(given.is_null() || given.is_array()) || items(given).iter().any(|v| !v.is_string()) {
        return Err(bad("values", "must be a list of strings"));
    }
    let values: Vec<String> = items(given).iter().map(|v| text(v).to_owned()).collect();
    if let Some(problem) = values.iter().find_map(|v| names::label_value(v).into_iter().next()) {
        return Err(bad("values", &problem));
    }
    if let Some(problem) = wrong_values(spelled, operator, &values) {
        return Err(bad("values", problem));
    }
    Ok(Requirement { key, operator, values })
}

fn operator(spelled: &str) -> Option<Operator> {
    match spelled {
        "in" | "In" | "=" | "==" => Some(Operator::In),
        "notin" | "NotIn" | "!=" => Some(Operator::NotIn),
        "exists" | "Exists" => Some(Operator::Exists),
        "!" | "DoesNotExist" => Some(Operator::DoesNotExist),
        "gt" | "Gt" | ">" => Some(Operator::GreaterThan),
        "lt" | "Lt" | "<" => Some(Operator::LessThan),
        _ => None,
    }
}

fn wrong_values(spelled: &str, operator: Operator, values: &[String]) -> Option<&'static str> {
    match operator {
        Operator::In | Operator::NotIn if spelled.ends_with('=') && values.len() != 1 => {
            Some("exact-match compatibility requires one single value")
        }
        Operator::In | Operator::NotIn if values.is_empty() => {
            Some("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan => match values {
            [one] if one.parse::<i64>().is_err() => Some("for 'Gt', 'Lt' operators, the value must be an integer"),
            [_] => None,
            _ => Some("for 'Gt', 'Lt' operators, exactly one value is required"),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_the_originals_table_says() {
        let labels = json!({"location": "europe", "environment": "prod", "version": "15"});
        let table = [
            (r#"[]"#, true),
            (r#"null"#, true),
            (r#"[{"key": "location", "operator": "in", "values": ["europe"]}]"#, true),
            (
                r#"[{"key": "location", "operator": "in", "values": ["europe"]}, {"key": "environment", "operator": "==", "values": ["prod"]}]"#,
                true,
            ),
            (
                r#"[{"key": "location", "operator": "in", "values": ["europe"]}, {"key": "environment", "operator": "==", "values": ["test"]}]"#,
                false,
            ),
            (
                r#"[{"key": "location", "operator": "!=", "values": ["usa"]}, {"key": "environment", "operator": "in", "values": ["prod"]}]"#,
                true,
            ),
            (r#"[{"key": "version", "operator": ">", "values": ["14"]}]"#, true),
            (r#"[{"key": "version", "operator": "gt", "values": ["15"]}]"#, false),
            (r#"[{"key": "version", "operator": "Lt", "values": ["16"]}]"#, true),
            (r#"[{"key": "location", "operator": "<", "values": ["16"]}]"#, false),
            (r#"[{"key": "location", "operator": "exists"}]"#, true),
            (r#"[{"key": "location", "operator": "!"}]"#, false),
            (r#"[{"key": "absent", "operator": "DoesNotExist"}]"#, true),
            (r#"[{"key": "absent", "operator": "NotIn", "values": ["x"]}]"#, true),
            (r#"[{"key": "absent", "operator": "In", "values": ["x"]}]"#, false),
        ];
        for (text, expected) in table {
            assert_eq!(
                ClusterSelector::parse(text).unwrap().matches(&labels),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn bad_selectors_say_what_is_wrong() {
        let table = [
            ("[", "not valid JSON"),
            ("{}", r#"must be a list of {"key", "operator", "values"}, not {}"#),
            (
                r#"[{"key": "a", "operator": "like"}]"#,
                r#"[0].operator: "like" is not a valid operator"#,
            ),
            (
                r#"[{"key": "a", "operator": "in"}]"#,
                "[0].values: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                r#"[{"key": "a", "operator": "=", "values": ["x", "y"]}]"#,
                "[0].values: exact-match compatibility requires one single value",
            ),
            (
                r#"[{"key": "a", "operator": "exists", "values": ["x"]}]"#,
                "[0].values: values set must be empty for exists and does not exist",
            ),
            (
                r#"[{"key": "a", "operator": "gt", "values": ["x"]}]"#,
                "[0].values: for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            (
                r#"[{"key": "a", "operator": "gt", "values": []}]"#,
                "[0].values: for 'Gt', 'Lt' operators, exactly one value is required",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(ClusterSelector::parse(text).unwrap_err().to_string(), expected);
        }
        for text in [
            r#"[{"key": "-", "operator": "exists"}]"#,
            r#"[{"key": "a", "operator": "in", "values": ["-"]}]"#,
        ] {
            assert!(ClusterSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_without_the_annotation_goes_everywhere() {
        let selector = ClusterSelector::of(&json!({"metadata": {}})).unwrap();
        assert!(selector.matches(&Value::Null));
    }
}
