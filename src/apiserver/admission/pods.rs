//! What admission adds to new pods: a priority.

use apimachinery::{Object, status::Status};
use serde_json::Value;

use crate::{
    errors,
    registry::{Registry, codec, selection::Selection, write::Write},
    request::options::ListOptions,
};

/// Classes that are always there.
const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// Completes a new pod.
///
/// # Errors
/// 403 for a priority class that is not there, or a priority that is not the class's.
pub(super) async fn complete(registry: &Registry, write: &Write<'_>, pod: &mut Object) -> Result<(), Status> {
    let class = priority_class(registry, write, pod).await?;
    let given = pod.pointer("/spec/priority").and_then(Value::as_i64);
    if given.is_some_and(|given| given != class.value) {
        let why = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            given.unwrap_or_default(),
            class.value
        );
        return Err(errors::forbidden(
            write.resource,
            pod["metadata"]["name"].as_str().unwrap_or_default(),
            &why,
        ));
    }
    pod["spec"]["priority"] = class.value.into();
    if pod["spec"]["preemptionPolicy"].is_null() {
        pod["spec"]["preemptionPolicy"] = class.preemption.into();
    }
    if !class.name.is_empty() {
        pod["spec"]["priorityClassName"] = class.name.into();
    }
    Ok(())
}

/// What a pod gets from its class.
struct Class {
    name: String,
    value: i64,
    preemption: String,
}

impl Class {
    fn of(class: &Object, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: class["value"].as_i64().unwrap_or_default(),
            preemption: class["preemptionPolicy"]
                .as_str()
                .unwrap_or("PreemptLowerPriority")
                .to_owned(),
        }
    }
}

async fn priority_class(registry: &Registry, write: &Write<'_>, pod: &Object) -> Result<Class, Status> {
    let name = pod
        .pointer("/spec/priorityClassName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some((name, value)) = SYSTEM_CLASSES.iter().find(|(system, _)| *system == name) {
        return Ok(Class {
            value: *value,
            ..Class::of(&Value::Null, name)
        });
    }
    let Some(classes) = registry.resource("scheduling.k8s.io", "v1", "priorityclasses").cloned() else {
        return Ok(Class::of(&Value::Null, name));
    };
    if !name.is_empty() {
        let found = registry.get(&classes, "", name).await.map_err(|_| {
            let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
            errors::forbidden(
                write.resource,
                pod,
                &format!("no PriorityClass with name {name} was found"),
            )
        })?;
        return Ok(Class::of(&codec::decode(&found)?, name));
    }
    // Without a name: the class that says it is the default, or the lowest of those that do.
    let everything = Selection::parse(&classes, "", "")?;
    let any = ListOptions {
        resource_version: "0".into(),
        ..ListOptions::default()
    };
    let page = registry.list(&classes, "", &everything, &any).await?;
    let mut default: Option<Class> = None;
    for item in &page.items {
        let class = codec::decode_payload(&item.payload)?;
        let found = Class::of(&class, class["metadata"]["name"].as_str().unwrap_or_default());
        if class["globalDefault"] == true && default.as_ref().is_none_or(|lowest| found.value < lowest.value) {
            default = Some(found);
        }
    }
    Ok(default.unwrap_or_else(|| Class::of(&Value::Null, "")))
}
