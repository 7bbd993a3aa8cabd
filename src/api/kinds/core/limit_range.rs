//! LimitRange: stored, not enforced.

use std::collections::{BTreeSet, HashSet};

use apimachinery::{Object, field::ErrorList, names, quantity::Quantity};
use serde_json::Value;

use crate::{
    json::{default_to, entries, items_mut, map_mut, put, text},
    kind::{CREATED_AT, KindDef, MEMBER, Strategy},
    printers,
    validation::{At, resources},
};

/// LimitRange in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "LimitRange",
    resource: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    type_name: "io.k8s.api.core.v1.LimitRange",
    profiles: MEMBER,
    create_on_update: true,
    columns: CREATED_AT,
    strategy: &LimitRange,
    ..KindDef::NAMESPACED
};

struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Object) {
        for limit in items_mut(map_mut(object, "spec"), "limits").filter(|limit| limit["type"] == "Container") {
            fill(limit, "default", "max");
            fill(limit, "defaultRequest", "default");
            fill(limit, "defaultRequest", "min");
        }
    }

    /// One that nobody names is named by its uid.
    fn prepare_for_create(&self, object: &mut Object) {
        if text(&object["metadata"]["name"]).is_empty() {
            let uid = object["metadata"]["uid"].clone();
            put(map_mut(object, "metadata"), "name", uid);
        }
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut seen = HashSet::new();
        for limit in At::field(object, "spec").key("limits").items() {
            let kind = limit.key("type");
            let problems = names::qualified_name(kind.text());
            errors.extend(
                problems
                    .iter()
                    .map(|problem| kind.invalid_value(&kind.text().into(), problem)),
            );
            if problems.is_empty()
                && !kind.text().contains('/')
                && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text())
            {
                errors.push(kind.invalid("must be a standard limit type or fully qualified"));
            }
            if !seen.insert(kind.text()) {
                errors.push(kind.duplicate());
            }
            item(&limit, &mut errors);
        }
        errors
    }

    fn row(&self, object: &Object, _now: jiff::Timestamp) -> Vec<Value> {
        printers::created_at(object)
    }
}

/// What is not set in one map is taken from another one.
fn fill(limit: &mut Value, name: &str, from: &str) {
    let given = limit[from].clone();
    if entries(&given).next().is_some() {
        let target = map_mut(limit, name);
        for (resource, amount) in entries(&given) {
            default_to(target, resource, amount.clone());
        }
    }
}

fn item(limit: &At<'_>, errors: &mut ErrorList) {
    let kind = limit.key("type").text();
    let mut names = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let amounts = limit.key(list);
        if kind == "Pod" && list.starts_with("default") {
            if !amounts.is_empty() {
                errors.push(amounts.forbidden("may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (name, amount) in amounts.entries() {
            if ["Pod", "Container"].contains(&kind) {
                resources::container_name(&amount, name, errors);
            } else {
                resources::name(&amount, name, errors);
            }
            names.insert(name);
        }
    }
    if kind == "PersistentVolumeClaim"
        && ["min", "max"]
            .iter()
            .all(|list| !limit.key(list).entry("storage").is_set())
    {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(limit.key("limits").required(detail));
    }
    names.into_iter().for_each(|name| order(limit, name, errors));
}

/// Minimum, default request, default and maximum of a resource must not decrease in this order.
fn order(limit: &At<'_>, name: &str, errors: &mut ErrorList) {
    let amount = |list: &str| resources::quantity(&limit.value[list][name]);
    let (min, max) = (amount("min"), amount("max"));
    let (default, request) = (amount("default"), amount("defaultRequest"));
    let mut compare = |low: &Option<Quantity>, high: &Option<Quantity>, list: &str, shown: bool, texts: [&str; 2]| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let [low_name, high_name] = texts;
            let value = if shown { low } else { high }.to_string();
            let detail = format!("{low_name} value {low} is greater than {high_name} value {high}");
            errors.push(limit.key(list).entry(name).invalid_value(&value.into(), &detail));
        }
    };
    compare(&min, &max, "min", true, ["min", "max"]);
    compare(&min, &request, "defaultRequest", false, ["min", "default request"]);
    compare(&request, &max, "defaultRequest", true, ["default request", "max"]);
    compare(
        &request,
        &default,
        "defaultRequest",
        true,
        ["default request", "default limit"],
    );
    compare(&min, &default, "default", true, ["min", "default"]);
    compare(&default, &max, "default", false, ["default", "max"]);
    let ratio = limit.key("maxLimitRequestRatio").entry(name);
    if let Some(value) = amount("maxLimitRequestRatio").filter(|ratio| ratio.milli_value() < 1000) {
        errors.push(ratio.invalid_value(&value.to_string().into(), &format!("ratio {value} is less than 1")));
    }
    if let (Some(value), Some(min), Some(max)) = (amount("maxLimitRequestRatio"), min, max) {
        let milli = |quantity: &Quantity| quantity.milli_value() as f64;
        let limit = milli(&max) / milli(&min);
        if milli(&value) / 1000.0 > limit {
            let detail = format!("ratio {value} is greater than max/min = {limit:.6}");
            errors.push(ratio.invalid_value(&value.to_string().into(), &detail));
        }
    }
}
