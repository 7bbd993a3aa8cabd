//! ResourceQuota: stored, not enforced.

use apimachinery::{Object, field::ErrorList};
use serde_json::Value;

use crate::{
    json::entries,
    kind::{Column, KindDef, MEMBER, Strategy, Subresource},
    printers,
    strategy::{drop_status, keep_status},
    validation::{At, immutable, resources},
};

/// ResourceQuota in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "ResourceQuota",
    answers_deleted: true,
    resource: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    subresources: &[Subresource::Status],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.ResourceQuota",
    columns: &[
        Column::object_name(),
        Column::text("Request", "Used and allowed amounts, limits apart."),
        Column::text("Limit", "Used and allowed limits."),
        Column::age(),
    ],
    strategy: &ResourceQuota,
    ..KindDef::NAMESPACED
};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// Errors of one requirement; they name the list, not the requirement.
fn scope_requirement(requirement: &At<'_>, path: &str, errors: &mut ErrorList) {
    let at = |name: &str| At::new(&requirement.value[name], format!("{path}.{name}"));
    let (scope, operator, values) = (at("scopeName"), at("operator"), at("values"));
    let wrong = |field: &At<'_>, detail: &str| field.invalid_value(&field.text().into(), detail);
    if !SCOPES.contains(&scope.text()) {
        errors.push(wrong(&scope, "unsupported scope"));
    }
    let valued = ["PriorityClass", "VolumeAttributesClass"].contains(&scope.text());
    if SCOPES.contains(&scope.text()) && !valued && operator.text() != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                      or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(wrong(&operator, detail));
    }
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => errors
            .push(values.required("must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors
            .push(values.invalid("must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(wrong(&operator, "not a valid selector operator")),
    }
}

struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn prepare_for_create(&self, object: &mut Object) {
        drop_status(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let hard = spec.key("hard");
        for (name, amount) in hard.entries() {
            resources::name(&amount, name, &mut errors);
            if !name.contains('/') && !resources::counted_by_quotas(name) {
                errors.push(amount.invalid_value(&name.into(), "must be a standard resource for quota"));
            }
            resources::amount(&amount, name, &mut errors);
        }
        let scopes = spec.key("scopes");
        if scopes.items().any(|scope| !SCOPES.contains(&scope.text())) {
            errors.push(scopes.invalid("unsupported scope"));
        }
        let best_effort = scopes.items().any(|scope| scope.text() == "BestEffort");
        if best_effort && hard.entries().any(|(name, _)| name != "pods") {
            errors.push(scopes.invalid("unsupported scope applied to resource"));
        }
        let requirements = spec.key("scopeSelector").key("matchExpressions");
        requirements
            .items()
            .for_each(|requirement| scope_requirement(&requirement, &requirements.path, &mut errors));
        errors
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        let mut errors = self.validate(object);
        immutable(
            &At::field(object, "spec").key("scopes"),
            &old["spec"]["scopes"],
            &mut errors,
        );
        errors
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let status = &object["status"];
        let mut names: Vec<&String> = entries(&status["hard"]).map(|(name, _)| name).collect();
        names.sort_unstable();
        let column = |limits: bool| {
            let cells = names
                .iter()
                .filter(|name| name.starts_with("limits.") == limits)
                .map(|name| {
                    let used = printers::scalar(&status["used"][name.as_str()]);
                    format!(
                        "{name}: {}/{}",
                        printers::or(&used, "0"),
                        printers::scalar(&status["hard"][name.as_str()])
                    )
                });
            cells.collect::<Vec<_>>().join(", ")
        };
        vec![
            printers::name(object),
            column(false).into(),
            column(true).into(),
            printers::age(object, now),
        ]
    }
}
