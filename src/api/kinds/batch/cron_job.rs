//! CronJob.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, default_zero, len, map_mut, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
