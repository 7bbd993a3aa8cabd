//! What is done to pods besides writing them: binding and eviction.

use apimachinery::{Object, selector::LabelSelector, status::Status};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Context, write};
use crate::{
    errors,
    registry::{
        Resource, codec,
        delete::{Delete, DeleteOptions, check_preconditions},
        metadata,
        selection::Selection,
        update::Change,
    },
    reply::{self, Reply},
    request::{body, negotiate::Offer, options::ListOptions},
};

struct Bind<'a> {
    binding: &'a Object,
    resource: &'a Resource,
    now: String,
}

impl Change for Bind<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut pod = current.cloned().unwrap_or_default();
        let name = metadata::text(&pod, "name").to_owned();
        let node = self
            .binding
            .pointer("/target/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let refuse = |why: String| {
            let mut status = errors::conflict(self.resource, &name, &why);
            status.message = status.message.replacen("pods \"", "pods/binding \"", 1);
            if let Some(details) = &mut status.details {
                details.kind = "pods/binding".into();
            }
            Err(status)
        };
        if metadata::is_deleting(&pod) {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(there) = pod
            .pointer("/spec/nodeName")
            .and_then(Value::as_str)
            .filter(|n| !n.is_empty())
        {
            return refuse(format!("pod {name} is already assigned to node \"{there}\""));
        }
        pod["spec"]["nodeName"] = node.into();
        for key in ["annotations", "labels"] {
            for (k, v) in metadata::of(self.binding)
                .get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                pod["metadata"][key][k.as_str()] = v.clone();
            }
        }
        let scheduled =
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": self.now});
        put_condition(&mut pod, scheduled);
        Ok(pod)
    }

    fn is_trusted(&self) -> bool {
        true
    }

    /// Nobody owns what a binding writes.
    fn tracks_itself(&self) -> bool {
        true
    }
}

/// POST of a Binding: assigns a pod to a node.
///
/// # Errors
/// 400 for a binding without node, 404, 409 for a pod that has one.
pub async fn bind(context: &Context, pods: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    let accepted = context.accepted(Offer::Plain)?;
    let options = write::options(context, "CreateOptions")?;
    let format = body::format_of(context.header(http::header::CONTENT_TYPE))?;
    let decoded = body::decode(bytes, format, "Binding")?;
    let binding = body::check(decoded, "v1", "Binding", options.field_validation, &context.warnings)?;
    let text = |path: &str| binding.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let mut wrong = apimachinery::field::ErrorList::new();
    if !["", "Node"].contains(&text("/target/kind")) {
        wrong.push(apimachinery::field::not_supported(
            "target.kind",
            &text("/target/kind").into(),
            &["Node", "<empty>"],
        ));
    }
    if text("/target/name").is_empty() {
        wrong.push(apimachinery::field::required("target.name", ""));
    }
    if !wrong.is_empty() {
        return Err(apimachinery::field::to_status(
            "",
            "Binding",
            text("/metadata/name"),
            &wrong,
        ));
    }
    // Bindings may be posted to the collection as well: the pod is named by the binding.
    let name = if context.info.resource == "bindings" {
        text("/metadata/name")
    } else {
        context.info.name.as_str()
    };
    let change = Bind {
        binding: &binding,
        resource: pods,
        now: metadata::timestamp(context.now),
    };
    let mut write = write::write(context, pods, &options);
    write.subresource = "binding";
    context.server.registry.update(&write, name, &change).await?;
    reply::object(201, &success(), &accepted)
}

/// Adds a condition, or puts it into the place of that of its type.
fn put_condition(pod: &mut Object, condition: Value) {
    match pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != condition["type"]);
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}

/// Says in a pod's status why it is about to go.
struct Announce<'a> {
    delete: &'a Delete<'a>,
    now: String,
}

impl Change for Announce<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut pod = current.cloned().unwrap_or_default();
        check_preconditions(self.delete, &pod)?;
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let told = conditions.is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True")
        });
        if !told {
            put_condition(
                &mut pod,
                json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": self.now,
                    "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}),
            );
        }
        Ok(pod)
    }

    fn is_trusted(&self) -> bool {
        true
    }

    /// Nobody owns what an eviction writes.
    fn tracks_itself(&self) -> bool {
        true
    }
}

/// The Status of something done.
fn success() -> Object {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// POST of an Eviction: deletes a pod if its disruption budget allows.
///
/// # Errors
/// 404; 429 if the budget is used up; 500 for pods with several budgets.
pub async fn evict(context: &Context, pods: &Resource, bytes: &Bytes) -> Result<Reply, Status> {
    let accepted = context.accepted(Offer::Plain)?;
    let format = body::format_of(context.header(http::header::CONTENT_TYPE))?;
    let decoded = body::decode(bytes, format, "Eviction")?;
    let eviction = decoded.object;
    let mut options = DeleteOptions::parse(eviction.get("deleteOptions").filter(|o| o.is_object()), &context.query)?;
    options.dry_run |= context.query.text("dryRun") == "All";
    let registry = &context.server.registry;
    let (namespace, name) = (context.info.namespace.as_str(), context.info.name.as_str());
    if metadata::text(&eviction, "name") != name {
        return Err(errors::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let pod = codec::decode(&registry.get(pods, namespace, name).await?)?;
    if !is_over(&pod) {
        take_disruption(context, namespace, &pod, options.dry_run).await?;
    }
    let mut preconditions = std::mem::take(&mut options.preconditions);
    preconditions
        .uid
        .get_or_insert_with(|| metadata::text(&pod, "uid").to_owned());
    let mut options = DeleteOptions {
        preconditions,
        ..options
    };
    if !options.dry_run {
        let announced = announce(context, pods, &options).await?;
        // It is we who made it another version.
        if let Some(version) = &mut options.preconditions.resource_version {
            announced.clone_into(version);
        }
    }
    registry.delete(&deletion(context, pods, &options)).await?;
    reply::object(201, &success(), &accepted)
}

fn deletion<'a>(context: &'a Context, pods: &'a Resource, options: &'a DeleteOptions) -> Delete<'a> {
    Delete {
        resource: pods,
        namespace: &context.info.namespace,
        name: &context.info.name,
        options,
        user: &context.user,
        now: context.now,
    }
}

/// Announces a deletion in the pod; answers the pod's version then.
async fn announce(context: &Context, pods: &Resource, options: &DeleteOptions) -> Result<String, Status> {
    let announce = Announce {
        delete: &deletion(context, pods, options),
        now: metadata::timestamp(context.now),
    };
    let unowned = crate::request::options::WriteOptions::default();
    let write = write::write(context, pods, &unowned);
    let updated = context
        .server
        .registry
        .update(&write, &context.info.name, &announce)
        .await?;
    Ok(metadata::text(&updated.object, "resourceVersion").to_owned())
}

/// Pods that ended, or do not run yet, disturb nobody by going.
fn is_over(pod: &Object) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    metadata::is_deleting(pod) || ["Succeeded", "Failed", "Pending"].contains(&phase)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

struct Disrupt<'a> {
    pod: &'a str,
    now: String,
}

impl Change for Disrupt<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut budget = current.cloned().unwrap_or_default();
        let left = budget
            .pointer("/status/disruptionsAllowed")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let name = metadata::text(&budget, "name").to_owned();
        let behind = budget
            .pointer("/status/observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            < metadata::of(&budget)
                .get("generation")
                .and_then(Value::as_i64)
                .unwrap_or(0);
        if behind || left <= 0 {
            return Err(too_many(&budget, &name, behind));
        }
        budget["status"]["disruptionsAllowed"] = (left - 1).into();
        budget["status"]["disruptedPods"][self.pod] = self.now.clone().into();
        Ok(budget)
    }

    fn is_trusted(&self) -> bool {
        true
    }
}

fn too_many(budget: &Object, name: &str, behind: bool) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let number = |key: &str| {
        budget
            .pointer(&format!("/status/{key}"))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let message = if behind {
        format!("The disruption budget {name} is still being processed by the server.")
    } else {
        format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        )
    };
    let retry = if behind { 10 } else { 0 };
    let cause = apimachinery::status::StatusCause {
        reason: "DisruptionBudget".into(),
        message,
        field: String::new(),
    };
    Status::failure(429, "TooManyRequests", text).with_details(apimachinery::status::StatusDetails {
        causes: vec![cause],
        retry_after_seconds: retry,
        ..Default::default()
    })
}

/// Takes one disruption from the budget that selects the pod, if there is one.
async fn take_disruption(context: &Context, namespace: &str, pod: &Object, dry_run: bool) -> Result<(), Status> {
    let registry = &context.server.registry;
    let Some(budgets) = registry.resource("policy", "v1", "poddisruptionbudgets") else {
        return Ok(());
    };
    let everything = Selection::parse(budgets, "", "")?;
    let page = registry
        .list(budgets, namespace, &everything, &ListOptions::default())
        .await?;
    let mut matching = Vec::new();
    for item in &page.items {
        let budget = codec::decode_payload(&item.payload)?;
        let selector = LabelSelector::from_object(budget.pointer("/spec/selector"));
        if selector.is_ok_and(|s| s.matches_object(pod)) {
            matching.push(budget);
        }
    }
    let budget = match matching.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(errors::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let number = |key: &str| {
        budget
            .pointer(&format!("/status/{key}"))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let policy = budget
        .pointer("/spec/unhealthyPodEvictionPolicy")
        .and_then(Value::as_str);
    let healthy_enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    if !is_ready(pod) && (policy == Some("AlwaysAllow") || healthy_enough) {
        return Ok(());
    }
    let options = crate::request::options::WriteOptions {
        dry_run,
        field_manager: "kube-apiserver".into(),
        ..Default::default()
    };
    let mut write = write::write(context, budgets, &options);
    write.subresource = "status";
    let change = Disrupt {
        pod: metadata::text(pod, "name"),
        now: metadata::timestamp(context.now),
    };
    registry
        .update(&write, metadata::text(budget, "name"), &change)
        .await
        .map(|_| ())
}
