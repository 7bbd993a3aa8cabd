//! PodTemplate: stored as it is, used by nobody but users.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    kind::{Column, KindDef, MEMBER, Strategy},
    printers,
    strategy::{first_generation, grow_generation},
    validation::{At, template},
};

/// PodTemplate in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "PodTemplate",
    answers_deleted: true,
    resource: "podtemplates",
    singular: "podtemplate",
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.PodTemplate",
    columns: &[
        Column::object_name(),
        Column::text("Containers", "Names of the containers."),
        Column::text("Images", "Images of the containers."),
        Column::text("Pod Labels", "Labels of the template."),
    ],
    strategy: &PodTemplate,
    ..KindDef::NAMESPACED
};

struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Object) {
        pod_template(object);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        first_generation(object);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        template::pod_template(&At::field(object, "template"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        let changed = object["template"] != old["template"];
        grow_generation(object, old, changed);
    }

    fn row(&self, object: &Object, _now: jiff::Timestamp) -> Vec<Value> {
        let [names, images] = printers::container_cells(&object["template"]);
        let labels = printers::format_labels(&object["template"]["metadata"]["labels"]);
        vec![printers::name(object), names, images, labels.into()]
    }
}
