//! Managers and what they own: `metadata.managedFields` read and written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;
use crate::{Object, meta, time};

/// How a manager came to own fields. Sorts as managed fields are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply: it owns what it applied last.
    Apply,
    /// By any other write: it owns what it changed.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who a manager is. An applier is the same whatever version it applies; an updater is one per version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name that the client gave itself.
    pub name: String,
    /// Apply or update.
    pub operation: Operation,
    /// The apiVersion of an updater; empty for appliers.
    pub api_version: String,
    /// The subresource written to; empty for the main resource.
    pub subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        Self {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            api_version: if operation == Operation::Apply {
                String::new()
            } else {
                api_version.to_owned()
            },
            subresource: subresource.to_owned(),
        }
    }

    /// The order of kube's own identifiers, which are this JSON.
    pub(super) fn identifier(&self) -> String {
        let mut identifier = json!({"manager": self.name, "operation": self.operation.as_str()});
        for (key, value) in [("apiVersion", &self.api_version), ("subresource", &self.subresource)] {
            if !value.is_empty() {
                identifier[key] = value.as_str().into();
            }
        }
        identifier.to_string()
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) api_version: String,
    pub(super) fields: FieldSet,
    pub(super) time: Option<Timestamp>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Managers(pub(super) BTreeMap<Manager, Owned>);

/// Why managed fields cannot be read, with kube's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An operation that is neither of the two.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No apiVersion.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// No `fieldsType`.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    /// A `fieldsType` other than `FieldsV1`.
    #[error("invalid fieldsType \"{0}\" in managed fields entry {1}")]
    FieldsType(String, usize),
}

impl Managers {
    /// Reads the entries of `metadata.managedFields`.
    pub(super) fn decode(entries: &[Value]) -> Result<Self, DecodeError> {
        let mut managers = BTreeMap::new();
        for (i, entry) in entries.iter().enumerate() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(DecodeError::Operation),
            };
            let api_version = text("apiVersion");
            match (api_version, text("fieldsType")) {
                ("", _) => return Err(DecodeError::ApiVersion),
                (_, "FieldsV1") => {}
                (_, "") => return Err(DecodeError::NoFieldsType(i)),
                (_, other) => return Err(DecodeError::FieldsType(other.to_owned(), i)),
            }
            let owned = Owned {
                api_version: api_version.to_owned(),
                fields: FieldSet::decode(entry.get("fieldsV1").unwrap_or(&Value::Null)),
                time: time::parse(text("time")),
            };
            managers.insert(
                Manager::new(text("manager"), operation, api_version, text("subresource")),
                owned,
            );
        }
        Ok(Self(managers))
    }

    /// Reads an object's managed fields.
    pub(super) fn of(object: &Object) -> Result<Self, DecodeError> {
        Self::decode(
            meta::get(object, "managedFields")
                .and_then(Value::as_array)
                .map_or(&[], Vec::as_slice),
        )
    }

    /// Writes them into an object, sorted as kube sorts them: appliers, then updaters, each by time.
    pub(super) fn write(&self, object: &mut Object) {
        let entries = self.encode();
        if entries.is_empty() {
            meta::remove(object, "managedFields");
        } else {
            meta::set(object, "managedFields", entries);
        }
    }

    pub(super) fn encode(&self) -> Vec<Value> {
        let mut managers: Vec<_> = self.0.iter().collect();
        managers.sort_by_key(|(manager, owned)| {
            let seconds = owned.time.map_or(0, Timestamp::as_second);
            (
                manager.operation,
                seconds,
                manager.name.clone(),
                owned.api_version.clone(),
                manager.subresource.clone(),
            )
        });
        managers
            .into_iter()
            .map(|(manager, owned)| encode_entry(manager, owned))
            .collect()
    }

    /// Merges the oldest updaters beyond `max` into one per version, so that writes under ever new names do not
    /// grow an object without bound.
    pub(super) fn cap_updaters(&mut self, max: usize) {
        let mut updaters: Vec<_> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| {
                (
                    owned.time.map_or(0, Timestamp::as_second),
                    manager.identifier(),
                    manager.clone(),
                )
            })
            .collect();
        let mut left = updaters.len();
        updaters.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut first_of_version: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, _, manager) in updaters {
            if left <= max {
                return;
            }
            let Some(first) = first_of_version.get(&manager.api_version) else {
                first_of_version.insert(manager.api_version.clone(), manager);
                continue;
            };
            let bucket = Manager::new("ancient-changes", Operation::Update, &manager.api_version, "");
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if let Some(old) = self.0.remove(&manager)
                && let Some(owned) = self.0.get_mut(&bucket)
            {
                owned.fields.extend(&old.fields);
                owned.time = old.time;
            }
            left -= 1;
        }
    }
}

fn encode_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = json!({
        "manager": manager.name,
        "operation": manager.operation.as_str(),
        "apiVersion": owned.api_version,
    });
    if let Some(at) = owned.time {
        entry["time"] = time::format(at).into();
    }
    entry["fieldsType"] = "FieldsV1".into();
    entry["fieldsV1"] = owned.fields.encode();
    if !manager.subresource.is_empty() {
        entry["subresource"] = manager.subresource.as_str().into();
    }
    entry
}
