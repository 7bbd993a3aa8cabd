//! Validation of Jobs, and of job templates in CronJobs.

use std::collections::{BTreeMap, HashSet};

use apimachinery::{Object, field::ErrorList, names, selector::LabelSelector};
use serde_json::{Value, json};

use super::success;
use crate::{
    json::{items_mut, map_mut, put},
    validation::{At, domain_prefixed_path, immutable, label_selector, non_negative, one_of_if_set, template, text},
};

/// Labels the server puts on the pods of a job: name and uid, under their old and new keys.
pub(super) const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
pub(super) const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

const MAX_MANAGER_LENGTH: usize = 63;
const MAX_PARALLELISM_OF_INDEXED: i64 = 100_000;

/// Errors of a new job.
pub(super) fn job(job: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::field(job, "spec");
    generated_selector(job, &spec, &mut errors);
    errors.extend(self::spec(&spec));
    selector(&spec, &mut errors);
    let completions = spec.key("completions");
    if spec.key("completionMode").text() == "Indexed" && completions.int() > 0 {
        let name = At::new(&job["metadata"]["name"], "metadata.name");
        let host = format!("{}-{}", name.text(), completions.int() - 1);
        if !names::dns1123_label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            errors.push(name.invalid_value(&name.text().into(), &detail));
        }
    }
    errors
}

fn generated_selector(job: &Object, spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.key("selector");
    if spec.key("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let [name, uid] = &["name", "uid"].map(|key| Value::from(crate::json::text(&job["metadata"][key])));
    if uid.as_str().is_none_or(str::is_empty) {
        errors.push(At::new(uid, "metadata.uid").required(""));
    }
    let labels = spec.key("template").key("metadata").key("labels");
    let expected = [
        (UID_LABELS[0], uid),
        (NAME_LABELS[0], name),
        (UID_LABELS[1], uid),
        (NAME_LABELS[1], name),
    ];
    for (key, value) in expected {
        let label = labels.entry(key);
        let detail = format!("must be '{}'", value.as_str().unwrap_or_default());
        if !label.is_set() {
            errors.push(label.required(&detail));
        } else if label.value != value {
            errors.push(label.invalid_value(labels.value, &detail));
        }
    }
    let own: BTreeMap<&str, &Value> = expected.into_iter().collect();
    if let Ok(parsed) = LabelSelector::from_object(Some(selector.value))
        && !parsed.matches_labels(Some(&json!(own)))
    {
        errors.push(selector.invalid("`selector` not auto-generated"));
    }
}

fn selector(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.key("selector");
    if selector.is_set() {
        label_selector(&selector, errors);
    } else {
        errors.push(selector.required(""));
    }
    template::selected_labels(spec, errors);
}

/// Errors of what a job and a job template have in common.
pub(crate) fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(&spec.key(name), &mut errors);
    }
    let per_index = spec.key("backoffLimitPerIndex");
    if spec.key("maxFailedIndexes").is_set() && !per_index.is_set() {
        errors.push(per_index.required("when maxFailedIndexes is specified"));
    }
    let manager = spec.key("managedBy");
    if manager.is_set() {
        domain_prefixed_path(&manager, &mut errors);
        if manager.text().len() > MAX_MANAGER_LENGTH {
            errors.push(manager.too_long(MAX_MANAGER_LENGTH));
        }
    }
    completion_mode(spec, &mut errors);
    if spec.key("podFailurePolicy").is_set() {
        failure_policy(spec, &mut errors);
    }
    let success = spec.key("successPolicy");
    if success.is_set() && spec.key("completionMode").text() == "Indexed" {
        success::policy(&success, spec.key("completions").int(), &mut errors);
    } else if success.is_set() {
        let rules = success.key("rules").items().map(|rule| {
            json!({
                "SucceededIndexes": rule.key("succeededIndexes").value,
                "SucceededCount": rule.key("succeededCount").value,
            })
        });
        let shown = json!({"Rules": rules.collect::<Vec<_>>()});
        errors.push(success.invalid_value(&shown, "requires indexed completion mode"));
    }
    let replacement = spec.key("podReplacementPolicy");
    let policies: &[&str] = if spec.key("podFailurePolicy").is_set() {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    one_of_if_set(&replacement, policies, &mut errors);
    template::pod_template(&spec.key("template"), &mut errors);
    restart_policy(spec, &mut errors);
    errors
}

fn completion_mode(spec: &At<'_>, errors: &mut ErrorList) {
    let mode = spec.key("completionMode");
    one_of_if_set(&mode, &["NonIndexed", "Indexed"], errors);
    let (completions, parallelism) = (spec.key("completions"), spec.key("parallelism"));
    let (failed, per_index) = (spec.key("maxFailedIndexes"), spec.key("backoffLimitPerIndex"));
    if mode.text() == "Indexed" {
        if !completions.is_set() {
            errors.push(completions.required("when completion mode is Indexed"));
        }
        if parallelism.int() > MAX_PARALLELISM_OF_INDEXED {
            let max = MAX_PARALLELISM_OF_INDEXED;
            let detail = format!("must be less than or equal to {max} when completion mode is Indexed");
            errors.push(parallelism.invalid(&detail));
        }
        if completions.is_set() && failed.is_set() && failed.int() > completions.int() {
            errors.push(failed.invalid("must be less than or equal to completions"));
        }
    } else if !mode.is_set() || mode.text() == "NonIndexed" {
        for field in [per_index, failed].into_iter().filter(At::is_set) {
            errors.push(field.invalid("requires indexed completion mode"));
        }
    }
}

fn restart_policy(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.key("template").key("spec").key("restartPolicy");
    match policy.text() {
        "" | "Always" => errors.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" | "Never" => {
            if spec.key("podFailurePolicy").is_set() && policy.text() != "Never" {
                errors.push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
            }
        }
        _ => errors.push(policy.not_supported(&["OnFailure", "Never"])),
    }
}

fn failure_policy(spec: &At<'_>, errors: &mut ErrorList) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let pod = spec.key("template").key("spec");
    let containers: HashSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|kind| pod.key(kind).items())
        .map(|container| container.key("name").text())
        .collect();
    let rules = spec.key("podFailurePolicy").key("rules");
    if rules.len() > 20 {
        errors.push(apimachinery::field::too_many(rules.path.as_str(), rules.len(), 20));
    }
    for rule in rules.items() {
        let action = rule.key("action");
        match action.text() {
            "" => errors.push(action.required(&format!("valid values: [{}]", quoted(ACTIONS)))),
            "FailIndex" if !spec.key("backoffLimitPerIndex").is_set() => {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
            other if !ACTIONS.contains(&other) => errors.push(action.not_supported(ACTIONS)),
            _ => {}
        }
        let (codes, conditions) = (rule.key("onExitCodes"), rule.key("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &containers, errors);
        }
        for condition in conditions.items() {
            text(&condition.key("type"), names::qualified_name, errors);
            let statuses = &["False", "True", "Unknown"];
            one_of_if_set(&condition.key("status"), statuses, errors);
        }
        let detail = match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(apimachinery::field::invalid_unnamed(rule.path.as_str(), detail));
    }
}

fn quoted(values: &[&str]) -> String {
    values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(" ")
}

fn exit_codes(at: &At<'_>, containers: &HashSet<&str>, errors: &mut ErrorList) {
    const OPERATORS: &[&str] = &["In", "NotIn"];
    let operator = at.key("operator");
    if operator.text().is_empty() {
        errors.push(operator.required(&format!("valid values: [{}]", quoted(OPERATORS))));
    } else if !OPERATORS.contains(&operator.text()) {
        errors.push(operator.not_supported(OPERATORS));
    }
    let container = at.key("containerName");
    if container.is_set() && !containers.contains(container.text()) {
        errors.push(container.invalid("must be one of the container or initContainer names in the pod template"));
    }
    let values = at.key("values");
    if values.is_empty() {
        errors.push(values.invalid("at least one value is required"));
    }
    let mut seen = HashSet::new();
    let mut last = None;
    let mut sorted = true;
    for value in values.items() {
        if operator.text() == "In" && value.int() == 0 {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(value.int()) {
            errors.push(value.duplicate());
        }
        sorted &= last.is_none_or(|last| last <= value.int());
        last = Some(value.int());
    }
    if !sorted {
        errors.push(values.invalid("must be ordered"));
    }
}

/// Errors of a changed job: what it does is settled, how much of it at once is not.
pub(super) fn change(job: &Object, old: &Object) -> ErrorList {
    let (spec, before) = (At::field(job, "spec"), &old["spec"]);
    let mut errors = ErrorList::new();
    generated_selector(job, &spec, &mut errors);
    errors.extend(self::spec(&spec));
    selector(&spec, &mut errors);
    let completions = spec.key("completions");
    if spec.key("completionMode").text() != "Indexed" {
        immutable(&completions, &before["completions"], &mut errors);
    } else if completions.value != &before["completions"]
        && completions.is_set()
        && completions.int() != spec.key("parallelism").int()
    {
        errors.push(completions.invalid("can only be modified in tandem with spec.parallelism"));
    }
    immutable(&spec.key("selector"), &before["selector"], &mut errors);
    template_change(&spec, old, &mut errors);
    for name in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(&spec.key(name), &before[name], &mut errors);
    }
    errors
}

/// A job that rests and has not started yet may still be told where its pods shall run.
fn template_change(spec: &At<'_>, old: &Object, errors: &mut ErrorList) {
    let new = spec.key("template");
    let mut before = old["spec"]["template"].clone();
    let suspended = old["spec"]["suspend"] == true;
    if suspended && old["status"]["startTime"].is_null() {
        for name in ["labels", "annotations"] {
            put(
                map_mut(&mut before, "metadata"),
                name,
                new.value["metadata"][name].clone(),
            );
        }
        let pod = map_mut(&mut before, "spec");
        for name in ["nodeSelector", "tolerations", "schedulingGates"] {
            put(pod, name, new.value["spec"][name].clone());
        }
        let affinity = &new.value["spec"]["affinity"]["nodeAffinity"];
        if !affinity.is_null() || !pod["affinity"].is_null() {
            put(map_mut(pod, "affinity"), "nodeAffinity", affinity.clone());
        }
        for kind in ["containers", "initContainers"] {
            for (index, container) in items_mut(pod, kind).enumerate() {
                let resources = new.value["spec"][kind][index]["resources"].clone();
                put(container, "resources", resources);
            }
        }
    }
    immutable(&new, &before, errors);
}

/// Errors of a changed status.
pub(super) fn status(job: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = At::field(job, "status");
    template::counters(
        &status,
        &["active", "succeeded", "failed", "ready", "terminating"],
        &[],
        &mut errors,
    );
    let conditions = status.key("conditions");
    if super::has_condition(job, "Complete") && super::has_condition(job, "Failed") {
        let detail = "cannot set Complete=True and Failed=true conditions";
        errors.push(apimachinery::field::invalid_unnamed(conditions.path.as_str(), detail));
    }
    errors
}
