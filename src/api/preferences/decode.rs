//! From JSON to [`Preferences`], with the leniency of the original: keys in any case, null as absent, unknown keys ignored.

use serde_json::{Map, Value};

use super::{Amount, ClusterPreferences, Preferences, SplitStrategy, SpreadBy, Toleration, Waves};
use crate::cluster_selector::{self, Requirement};

/// Why a preferences annotation cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// A field is of the wrong type.
    #[error("{field}: must be {expected}, not {found}")]
    Type {
        /// Path of the field inside the annotation.
        field: String,
        /// What it must be.
        expected: &'static str,
        /// The value there.
        found: String,
    },
    /// A requirement on cluster labels is not a good one.
    #[error("require")]
    Require(#[source] cluster_selector::Error),
}

/// Preferences, and what in their JSON nobody understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What was understood.
    pub preferences: Preferences,
    /// Paths of keys that were ignored.
    pub unknown_keys: Vec<String>,
}

/// A JSON object read field by field, with keys in any case.
struct Fields<'a> {
    path: String,
    left: Map<String, Value>,
    unknown: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(path: &str, value: Value, unknown: &'a mut Vec<String>) -> Result<Self, Error> {
        let left = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => return Err(wrong(path, "an object", &other)),
        };
        Ok(Self {
            path: path.to_owned(),
            left,
            unknown,
        })
    }

    /// The last value given for a key; null counts as none.
    fn take(&mut self, key: &str) -> Option<Value> {
        let spellings: Vec<String> = self
            .left
            .keys()
            .filter(|k| k.eq_ignore_ascii_case(key))
            .cloned()
            .collect();
        let mut found = None;
        for spelling in spellings {
            found = self.left.shift_remove(&spelling);
        }
        found.filter(|v| !v.is_null())
    }

    fn read<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let field = join(&self.path, key);
        read(&value).map(Some).ok_or_else(|| wrong(&field, expected, &value))
    }

    fn int(&mut self, key: &str) -> Result<Option<i64>, Error> {
        self.read(key, "a whole number", Value::as_i64)
    }

    fn flag(&mut self, key: &str) -> Result<bool, Error> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or_default())
    }

    fn text(&mut self, key: &str) -> Result<String, Error> {
        Ok(self
            .read(key, "a string", |v| v.as_str().map(str::to_owned))?
            .unwrap_or_default())
    }

    fn list(&mut self, key: &str) -> Result<Vec<Value>, Error> {
        Ok(self.read(key, "a list", |v| v.as_array().cloned())?.unwrap_or_default())
    }

    /// Remembers what was not asked for.
    fn finish(self) {
        self.unknown.extend(self.left.keys().map(|key| join(&self.path, key)));
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn wrong(field: &str, expected: &'static str, found: &Value) -> Error {
    let field = if field.is_empty() { "preferences" } else { field };
    Error::Type {
        field: field.to_owned(),
        expected,
        found: found.to_string(),
    }
}

pub(super) fn decode(text: &str) -> Result<Parsed, Error> {
    let value: Value = serde_json::from_str(text).map_err(Error::Syntax)?;
    let mut unknown = Vec::new();
    let mut nested = Vec::new();
    let mut fields = Fields::new("", value, &mut unknown)?;
    let mut preferences = Preferences {
        rebalance: fields.flag("rebalance")?,
        strategy: fields
            .read("strategy", "\"weights\" or \"spread\"", split_strategy)?
            .unwrap_or_default(),
        spread_by: fields.read("spreadBy", "\"region\" or \"zone\"", spread_by)?,
        min_groups: fields.int("minGroups")?,
        max_groups: fields.int("maxGroups")?,
        order: fields
            .read("order", "a list of cluster names", strings)?
            .unwrap_or_default(),
        capacity_aware: fields.flag("capacityAware")?,
        min_available: fields.read("minAvailable", "a whole number or a percentage", amount)?,
        waves: fields.read("waves", "\"cluster\" or \"region\"", waves)?,
        require: require(fields.take("require"))?,
        ..Preferences::default()
    };
    for (index, item) in fields.list("tolerations")?.into_iter().enumerate() {
        preferences
            .tolerations
            .push(toleration(&format!("tolerations[{index}]"), item, &mut nested)?);
    }
    let clusters = fields
        .read("clusters", "an object", |v| v.as_object().cloned())?
        .unwrap_or_default();
    for (name, wishes) in clusters {
        let path = format!("clusters[{name}]");
        preferences.clusters.insert(name, cluster(&path, wishes, &mut nested)?);
    }
    fields.finish();
    unknown.append(&mut nested);
    Ok(Parsed {
        preferences,
        unknown_keys: unknown,
    })
}

fn cluster(path: &str, value: Value, unknown: &mut Vec<String>) -> Result<ClusterPreferences, Error> {
    let mut fields = Fields::new(path, value, unknown)?;
    let wishes = ClusterPreferences {
        min_replicas: fields.int("minReplicas")?.unwrap_or_default(),
        max_replicas: fields.int("maxReplicas")?,
        weight: fields.int("weight")?.unwrap_or_default(),
    };
    fields.finish();
    Ok(wishes)
}

fn toleration(path: &str, value: Value, unknown: &mut Vec<String>) -> Result<Toleration, Error> {
    let mut fields = Fields::new(path, value, unknown)?;
    let exists = fields.read("operator", "\"Equal\" or \"Exists\"", |v| match v.as_str()? {
        "Exists" => Some(true),
        "Equal" | "" => Some(false),
        _ => None,
    })?;
    let toleration = Toleration {
        exists: exists.unwrap_or_default(),
        key: fields.text("key")?,
        value: fields.text("value")?,
        effect: fields.text("effect")?,
    };
    fields.finish();
    Ok(toleration)
}

fn require(value: Option<Value>) -> Result<Vec<Requirement>, Error> {
    match value {
        Some(value) => cluster_selector::requirements(&value).map_err(Error::Require),
        None => Ok(Vec::new()),
    }
}

fn split_strategy(value: &Value) -> Option<SplitStrategy> {
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "weights" | "" => Some(SplitStrategy::Weights),
        "spread" => Some(SplitStrategy::Spread),
        _ => None,
    }
}

fn spread_by(value: &Value) -> Option<SpreadBy> {
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "region" => Some(SpreadBy::Region),
        "zone" => Some(SpreadBy::Zone),
        _ => None,
    }
}

fn waves(value: &Value) -> Option<Waves> {
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "cluster" => Some(Waves::Cluster),
        "region" => Some(Waves::Region),
        _ => None,
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn amount(value: &Value) -> Option<Amount> {
    match value {
        Value::String(text) => text.strip_suffix('%')?.parse().ok().map(Amount::Percent),
        other => other.as_i64().map(Amount::Replicas),
    }
}
