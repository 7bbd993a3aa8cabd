mod applying;
mod properties;
mod tracking;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn type_of(object: &Value) -> &'static str {
    match meta::kind(object) {
        "ConfigMap" => CONFIG_MAP,
        "Deployment" => DEPLOYMENT,
        "Service" => SERVICE,
        _ => "",
    }
}

/// Puts an object into the form in which the API stores it.
fn canonical(mut object: Value) -> Value {
    if let Some(ty) = Schema::global().type_by_name(type_of(&object)) {
        let report = Schema::global().check_type(ty, &mut object);
        assert_eq!(report.error, None);
    }
    object
}

struct World {
    live: Option<Value>,
    clock: i64,
}

impl World {
    fn new() -> Self {
        Self { live: None, clock: 0 }
    }

    fn try_apply(&mut self, manager: &str, config: &Value, force: bool) -> Result<&Value, ApplyError> {
        self.clock += 1;
        let applied = apply(ApplyRequest {
            live: self.live.as_ref(),
            config,
            manager,
            force,
            subresource: "",
            type_name: type_of(config),
            now: at(self.clock),
        })?;
        let mut stored = canonical(applied);
        if let Some(live) = &self.live {
            keep_times_if_unchanged(&mut stored, live);
        }
        Ok(self.live.insert(stored))
    }

    fn apply(&mut self, manager: &str, config: Value) -> &Value {
        self.try_apply(manager, &config, false).unwrap()
    }

    fn force(&mut self, manager: &str, config: Value) -> &Value {
        self.try_apply(manager, &config, true).unwrap()
    }

    fn conflict(&mut self, manager: &str, config: Value) -> String {
        match self.try_apply(manager, &config, false) {
            Err(ApplyError::Conflicts(conflicts)) => conflicts.to_string(),
            other => panic!("no conflict: {other:?}"),
        }
    }

    fn update_at(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) -> &Value {
        self.clock += 1;
        let mut new = self.live.clone().unwrap_or_default();
        change(&mut new);
        let sent = new.clone();
        let mut new = canonical(new);
        keep_reset(&sent, &mut new);
        let (type_name, now) = (type_of(&new), at(self.clock));
        track_update(
            &mut new,
            &UpdateRequest {
                live: self.live.as_ref(),
                manager,
                subresource,
                type_name,
                now,
            },
        );
        self.live.insert(new)
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) -> &Value {
        self.update_at(manager, "", change)
    }

    fn live(&self) -> &Value {
        self.live.as_ref().unwrap()
    }

    /// `manager/operation[/subresource]` of every entry.
    fn managers(&self) -> Vec<String> {
        let entries = meta::get(self.live(), "managedFields")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("").to_owned();
        let shown = |entry: &Value| {
            let subresource = text(entry, "subresource");
            let slash = if subresource.is_empty() { "" } else { "/" };
            format!(
                "{}/{}{slash}{subresource}",
                text(entry, "manager"),
                text(entry, "operation")
            )
        };
        entries.iter().map(shown).collect()
    }

    /// The paths that a manager owns, all its entries together.
    fn owned_by(&self, manager: &str) -> Vec<String> {
        let entries = meta::get(self.live(), "managedFields")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mine = entries.iter().filter(|entry| entry["manager"] == manager);
        mine.flat_map(|entry| FieldSet::decode(&entry["fieldsV1"]).paths())
            .map(|path| path.to_string())
            .collect()
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}, "data": data})
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn containers(containers: Value) -> Value {
    deployment(json!({"template": {"spec": {"containers": containers}}}))
}
