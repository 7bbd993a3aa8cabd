//! PersistentVolumeClaim specs, of claims and of templates for them.

use std::collections::HashSet;

use apimachinery::{field::ErrorList, names};

use super::{At, POSITIVE, label_selector, one_of_if_set, resources, text};

/// Ways a volume can be mounted.
pub(crate) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Errors of a claim's spec.
pub(crate) fn spec(at: &At<'_>, errors: &mut ErrorList) {
    let modes = at.key("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    label_selector(&at.key("selector"), errors);
    access_modes(&modes, errors);
    let storage = At::new(
        &at.value["resources"]["requests"]["storage"],
        format!("{}.resources[storage]", at.path),
    );
    match resources::quantity(storage.value) {
        None => errors.push(storage.required("")),
        Some(size) if size.sign() <= 0 => errors.push(storage.invalid_value(&size.to_string().into(), POSITIVE)),
        Some(_) => {}
    }
    let class = at.key("storageClassName");
    if !class.text().is_empty() {
        text(&class, names::dns1123_subdomain, errors);
    }
    one_of_if_set(&at.key("volumeMode"), &["Block", "Filesystem"], errors);
    for name in ["dataSource", "dataSourceRef"] {
        if at.key(name).is_set() {
            data_source(&at.key(name), errors);
        }
    }
}

/// Errors of access modes: unknown ones, and one that wants to be alone.
pub(crate) fn access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    let given: HashSet<&str> = modes.items().map(|mode| mode.text()).collect();
    for mode in modes.items().filter(|mode| !ACCESS_MODES.contains(&mode.text())) {
        errors.push(At::new(mode.value, modes.path.as_str()).not_supported(ACCESS_MODES));
    }
    if given.contains("ReadWriteOncePod") && given.len() > 1 {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn data_source(at: &At<'_>, errors: &mut ErrorList) {
    for name in ["name", "kind"] {
        if at.key(name).text().is_empty() {
            errors.push(at.key(name).required(""));
        }
    }
    let group = at.key("apiGroup");
    if group.text().is_empty() && at.key("kind").text() != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(at.key("kind").invalid(detail));
    }
    if !group.text().is_empty() {
        text(&group, names::dns1123_subdomain, errors);
    }
}
