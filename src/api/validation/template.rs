//! Pod templates and the selectors that go with them.

use apimachinery::{field::ErrorList, selector::LabelSelector};

use super::{
    At, annotations, label_selector, labels,
    pod_spec::{Place, pod_spec},
};

/// Errors of a pod template.
pub(crate) fn pod_template(at: &At<'_>, errors: &mut ErrorList) {
    // Go embeds the metadata of a template, so its fields have paths of their own.
    let metadata = At::new(&at.value["metadata"], at.path.as_str());
    labels(&metadata.key("labels"), errors);
    annotations(&metadata.key("annotations"), errors);
    pod_spec(&at.key("spec"), Place::Template, errors);
    if !at.key("spec").key("ephemeralContainers").is_empty() {
        let field = at.key("spec").key("ephemeralContainers");
        errors.push(field.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// Errors of a template whose labels the selector does not match. An absent selector matches nothing.
pub(crate) fn selected_labels(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.key("selector");
    let selector = selector.is_set().then_some(selector.value);
    if let Ok(selector) = LabelSelector::from_object(selector) {
        let labels = spec.key("template").key("metadata").key("labels");
        if !selector.is_everything() && !selector.matches_labels(Some(labels.value)) {
            errors.push(labels.invalid("`selector` does not match template `labels`"));
        }
    }
}

/// Errors of the labels of a template; false if the selector cannot be read, and then the template is not looked at.
pub(crate) fn selected_template(spec: &At<'_>, unreadable: &str, errors: &mut ErrorList) -> bool {
    let selector = spec.key("selector");
    if selector.is_set() && LabelSelector::from_object(Some(selector.value)).is_err() {
        errors.push(selector.invalid(unreadable));
        return false;
    }
    selected_labels(spec, errors);
    true
}

/// Errors of the selector of a workload: it must be there and select something less than everything.
pub(crate) fn workload_selector(spec: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let selector = spec.key("selector");
    if !selector.is_set() {
        errors.push(selector.required(""));
        return;
    }
    label_selector(&selector, errors);
    if selector.key("matchLabels").is_empty() && selector.key("matchExpressions").is_empty() {
        errors.push(selector.invalid(&format!("empty selector is invalid for {kind}")));
    }
}

/// Errors of the template of a workload whose pods run until they are deleted.
pub(crate) fn always_restarts(spec: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let pod = spec.key("template").key("spec");
    let policy = pod.key("restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    let deadline = pod.key("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.push(deadline.forbidden(&format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

/// Errors of the counters of a status: none is negative, and each is at most the one it is a part of.
pub(crate) fn counters(status: &At<'_>, counters: &[&str], parts: &[(&str, &str, &str)], errors: &mut ErrorList) {
    for name in counters {
        super::non_negative(&status.key(name), errors);
    }
    for (part, whole, shown) in parts {
        let part = status.key(part);
        if part.int() > status.key(whole).int() {
            errors.push(part.invalid_value(&part.int().into(), &format!("cannot be greater than {shown}")));
        }
    }
}

/// Errors of a counter that only grows.
pub(crate) fn not_decremented(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    if old.is_set() && new.int() < old.int() {
        errors.push(new.invalid_value(&new.int().into(), "cannot be decremented"));
    }
}
