//! Validation of roles and bindings.

use apimachinery::{
    Object,
    field::{ErrorList, FieldError},
    names,
    selector::LabelSelector,
};
use serde_json::{Value, json};

use super::GROUP;
use crate::validation::{At, label_selector, required_text, text};

/// Errors of a role.
pub(super) fn role(role: &Object, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for rule in At::field(role, "rules").items() {
        self::rule(&rule, namespaced, &mut errors);
    }
    let aggregation = At::field(role, "aggregationRule");
    if !namespaced && aggregation.is_set() {
        let selectors = aggregation.key("clusterRoleSelectors");
        if selectors.is_empty() {
            errors.push(selectors.required("at least one clusterRoleSelector required if aggregationRule is non-nil"));
        }
        for selector in selectors.items() {
            label_selector(&selector, &mut errors);
            if LabelSelector::from_object(Some(selector.value)).is_err() {
                errors.push(selector.invalid_value(&Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

fn rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    if rule.key("verbs").is_empty() {
        errors.push(rule.key("verbs").required("verbs must contain at least one value"));
    }
    let urls = rule.key("nonResourceURLs");
    let [groups, resources, names] = ["apiGroups", "resources", "resourceNames"].map(|name| rule.key(name));
    if !urls.is_empty() {
        if namespaced {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if [&groups, &resources, &names].iter().any(|list| !list.is_empty()) {
            errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

/// Errors of a binding.
pub(super) fn binding(binding: &Object, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let role = At::field(binding, "roleRef");
    let supported = |at: &At<'_>, values: &[&str], errors: &mut ErrorList| {
        if !values.contains(&at.text()) {
            errors.push(At::new(&at.text().into(), at.path.as_str()).not_supported(values));
        }
    };
    supported(&role.key("apiGroup"), &[GROUP], &mut errors);
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    supported(&role.key("kind"), kinds, &mut errors);
    required_text(&role.key("name"), names::path_segment_name, &mut errors);
    for subject in At::field(binding, "subjects").items() {
        let (name, group) = (subject.key("name"), subject.key("apiGroup"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        match subject.key("kind").text() {
            "ServiceAccount" => {
                if !name.text().is_empty() {
                    text(&name, names::dns1123_subdomain, &mut errors);
                }
                supported(&group, &[""], &mut errors);
                if !namespaced && subject.key("namespace").text().is_empty() {
                    errors.push(subject.key("namespace").required(""));
                }
            }
            "User" | "Group" => supported(&group, &[GROUP], &mut errors),
            _ => supported(&subject.key("kind"), &["ServiceAccount", "User", "Group"], &mut errors),
        }
    }
    errors
}

/// The error of a binding to another role than before.
pub(super) fn changed_role(binding: &Object) -> FieldError {
    let role = At::field(binding, "roleRef");
    let shown = json!({
        "APIGroup": role.key("apiGroup").text(),
        "Kind": role.key("kind").text(),
        "Name": role.key("name").text(),
    });
    role.invalid_value(&shown, "cannot change roleRef")
}
