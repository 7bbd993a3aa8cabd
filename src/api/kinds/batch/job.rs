//! Job.

mod success;
pub(crate) mod validate;

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, default_zero, empty, int, items, items_mut, map_mut, put, remove, sort, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::At,
    warnings,
};

/// Job in `batch/v1`.
pub const DEF: KindDef = KindDef {
    group: "batch",
    kind: "Job",
    resource: "jobs",
    singular: "job",
    categories: &["all"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.batch.v1.Job",
    orphans_by_default: true,
    selectable_fields: &["status.successful"],
    columns: &[
        Column::object_name(),
        Column::text("Status", "Running, or how it ended."),
        Column::text("Completions", "Completions reached and wanted."),
        Column::text("Duration", "Time it runs or ran."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of its pods.").wide(),
    ],
    strategy: &Job,
    ..KindDef::NAMESPACED
};

struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Object) {
        default_spec(map_mut(object, "spec"));
        default_labels(object);
    }

    /// The uid of the job must be known already: its selector is made of it.
    fn prepare_for_create(&self, object: &mut Object) {
        if object["spec"]["manualSelector"] != true {
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            let labelled_as_pods = !empty(&labels) && object["metadata"]["labels"] == labels;
            generate_selector(object);
            if labelled_as_pods {
                remove(map_mut(object, "metadata"), "labels");
                default_labels(object);
            }
        }
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::job(object)
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        let name = if old.is_none() {
            warnings::name_in_pods(object)
        } else {
            None
        };
        let template = At::field(object, "spec").key("template");
        name.into_iter()
            .chain(warnings::pod_template(&template, warnings::spec_changed(object, old)))
            .collect()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        validate::change(object, old)
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        validate::status(object)
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![int(&object["status"]["succeeded"]).to_string()]
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            status(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            printers::age(object, now),
            names,
            images,
            printers::format_label_selector(&spec["selector"]).into(),
        ]
    }
}

/// A job without labels has those of its pods.
fn default_labels(object: &mut Object) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if !absent(&labels) && empty(&object["metadata"]["labels"]) {
        put(map_mut(object, "metadata"), "labels", labels);
    }
}

/// Labels the pods with name and uid of the job, and selects them by the uid.
fn generate_selector(object: &mut Object) {
    let [name, uid] = ["name", "uid"].map(|key| Value::from(text(&object["metadata"][key])));
    let spec = map_mut(object, "spec");
    let labels = map_mut(map_mut(map_mut(spec, "template"), "metadata"), "labels");
    for (keys, value) in [(validate::NAME_LABELS, name), (validate::UID_LABELS, uid.clone())] {
        for key in keys {
            default_to(labels, key, value.clone());
        }
    }
    sort(labels);
    let selected = map_mut(map_mut(spec, "selector"), "matchLabels");
    default_to(selected, validate::UID_LABELS[1], uid);
    sort(selected);
}

/// Fills in the defaults of a job of its own; those of a CronJob get theirs when they start.
fn default_spec(spec: &mut Value) {
    if absent(&spec["completions"]) && absent(&spec["parallelism"]) {
        default_to(spec, "completions", 1);
    }
    default_to(spec, "parallelism", 1);
    let per_index = !absent(&spec["backoffLimitPerIndex"]);
    default_to(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    default_to(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    let replacement = if absent(&spec["podFailurePolicy"]) {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    default_to(spec, "podReplacementPolicy", replacement);
    default_to(spec, "manualSelector", false);
    default_failure_policy(spec);
    pod_template(spec);
}

/// Fills in the defaults of `podFailurePolicy`.
pub(crate) fn default_failure_policy(spec: &mut Value) {
    let Some(policy) = spec.get_mut("podFailurePolicy") else {
        return;
    };
    for rule in items_mut(policy, "rules") {
        for pattern in items_mut(rule, "onPodConditions") {
            default_zero(pattern, "status", "True");
        }
    }
}

/// Whether the first condition of this type is true.
pub(crate) fn has_condition(job: &Object, kind: &str) -> bool {
    let conditions = items(&job["status"]["conditions"]);
    conditions
        .iter()
        .find(|c| c["type"] == kind)
        .is_some_and(|c| c["status"] == "True")
}

fn status(job: &Object) -> &'static str {
    match () {
        () if has_condition(job, "Complete") => "Complete",
        () if has_condition(job, "Failed") => "Failed",
        () if !absent(&job["metadata"]["deletionTimestamp"]) => "Terminating",
        () if has_condition(job, "Suspended") => "Suspended",
        () if has_condition(job, "FailureTarget") => "FailureTarget",
        () if has_condition(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Object) -> String {
    let succeeded = int(&job["status"]["succeeded"]);
    match (job["spec"]["completions"].as_i64(), int(&job["spec"]["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Object, now: jiff::Timestamp) -> String {
    let status = &job["status"];
    match (
        printers::time(&status["startTime"]),
        printers::time(&status["completionTime"]),
    ) {
        (Some(start), end) => printers::human_duration(printers::seconds_between(start, end.unwrap_or(now))),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_tell_progress_and_duration() {
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let job = |spec: Value, status: Value| {
            let row = Job.row(&json!({"metadata": {"name": "j"}, "spec": spec, "status": status}), now);
            row[1..4].iter().map(|c| text(c).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            job(
                json!({"completions": 3}),
                json!({"succeeded": 1, "startTime": "2026-01-01T00:09:00Z"})
            ),
            ["Running", "1/3", "60s"]
        );
        assert_eq!(job(json!({"parallelism": 4}), json!({})), ["Running", "0/1 of 4", ""]);
        let done = json!({"succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:05:00Z",
            "conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(job(json!({"parallelism": 1}), done), ["Complete", "1/1", "5m"]);
    }
}
