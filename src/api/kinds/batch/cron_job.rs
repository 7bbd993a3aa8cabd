//! CronJob.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use super::schedule;
use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, default_zero, len, map_mut, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, non_negative, one_of},
    warnings,
};

/// CronJob in `batch/v1`.
pub const DEF: KindDef = KindDef {
    group: "batch",
    kind: "CronJob",
    resource: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.batch.v1.CronJob",
    columns: &[
        Column::object_name(),
        Column::text("Schedule", "When it runs."),
        Column::text("Timezone", "Time zone of the schedule."),
        Column::boolean("Suspend", "Whether it rests."),
        Column::integer("Active", "Jobs that run."),
        Column::text("Last Schedule", "Time since it started a job last."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of the jobs' pods.").wide(),
    ],
    strategy: &CronJob,
    ..KindDef::NAMESPACED
};

/// Longest name: jobs add eleven characters to it.
const MAX_NAME: usize = 52;

struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_zero(spec, "concurrencyPolicy", "Allow");
        default_to(spec, "suspend", false);
        default_to(spec, "successfulJobsHistoryLimit", 3);
        default_to(spec, "failedJobsHistoryLimit", 1);
        let template = map_mut(spec, "jobTemplate");
        map_mut(template, "metadata");
        let job = map_mut(template, "spec");
        super::job::default_failure_policy(job);
        pod_template(job);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = spec(object, None);
        let name = At::new(&object["metadata"]["name"], "metadata.name");
        if name.text().len() > MAX_NAME {
            errors.push(name.invalid(&format!("must be no more than {MAX_NAME} characters")));
        }
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        let name = if old.is_none() {
            warnings::name_in_pods(object)
        } else {
            None
        };
        let template = At::field(object, "spec").key("jobTemplate").key("spec").key("template");
        name.into_iter()
            .chain(warnings::pod_template(&template, warnings::spec_changed(object, old)))
            .collect()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        spec(object, Some(&old["spec"]))
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let last = match &status["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            time => printers::since(time, now),
        };
        let suspend = match &spec["suspend"] {
            suspend if absent(suspend) => "<unset>",
            suspend if *suspend == true => "True",
            _ => "False",
        };
        let job = &spec["jobTemplate"]["spec"];
        let [names, images] = printers::container_cells(&job["template"]);
        vec![
            printers::name(object),
            text(&spec["schedule"]).into(),
            spec["timeZone"].as_str().unwrap_or("<none>").into(),
            suspend.into(),
            len(&status["active"]).into(),
            last.into(),
            printers::age(object, now),
            names,
            images,
            printers::format_label_selector(&job["selector"]).into(),
        ]
    }
}

fn spec(object: &Object, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::field(object, "spec");
    let (when, zone) = (spec.key("schedule"), spec.key("timeZone"));
    if when.text().is_empty() {
        errors.push(when.required(""));
    } else {
        errors.extend(schedule::problem(when.text()).map(|problem| when.invalid(&problem)));
        let tolerated = old.is_some_and(|old| text(&old["schedule"]).contains("TZ"));
        if when.text().contains("TZ") && !tolerated {
            errors.push(when.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
        } else if when.text().contains("TZ") && zone.is_set() {
            errors.push(when.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
        }
    }
    non_negative(&spec.key("startingDeadlineSeconds"), &mut errors);
    if old.is_none_or(|old| &old["timeZone"] != zone.value) {
        time_zone(&zone, &mut errors);
    }
    one_of(
        &spec.key("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
        &mut errors,
    );
    let job = spec.key("jobTemplate").key("spec");
    errors.extend(super::job::validate::spec(&job));
    if job.key("selector").is_set() {
        errors.push(job.key("selector").invalid("`selector` will be auto-generated"));
    }
    if job.key("manualSelector").flag() {
        errors.push(job.key("manualSelector").not_supported(&["nil", "false"]));
    }
    non_negative(&spec.key("successfulJobsHistoryLimit"), &mut errors);
    non_negative(&spec.key("failedJobsHistoryLimit"), &mut errors);
    errors
}

/// Errors of the name of a time zone. Whether there is such a zone only its user can tell: nothing is read here.
fn time_zone(zone: &At<'_>, errors: &mut ErrorList) {
    if !zone.is_set() {
        return;
    }
    if zone.text().is_empty() {
        errors.push(zone.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let fits = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.chars().all(good)
    };
    if !zone.text().split('/').all(fits) || !zone.text().starts_with(|c: char| c.is_ascii_alphabetic()) {
        errors.push(zone.invalid(&format!("unknown time zone {}", zone.text())));
    } else if zone.text().eq_ignore_ascii_case("local") {
        let list = "https://www.iana.org/time-zones";
        errors.push(zone.invalid(&format!("timeZone must be an explicit time zone as defined in {list}")));
    }
}
