//! StatefulSet.

use std::collections::HashSet;

use apimachinery::{Object, field::ErrorList, names};
use serde_json::{Value, json};

use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, default_zero, int, items, items_mut, map_mut, put, remove, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
    validation::{At, non_negative, template, volume_claim},
    warnings,
};

/// StatefulSet in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "StatefulSet",
    resource: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    type_name: "io.k8s.api.apps.v1.StatefulSet",
    columns: &[
        Column::object_name(),
        Column::text("Ready", "Ready pods and wanted pods."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
    ],
    strategy: &StatefulSet,
    ..KindDef::NAMESPACED
};

struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        pod_template(spec);
        for claim in items_mut(spec, "volumeClaimTemplates") {
            default_zero(claim, "apiVersion", "v1");
            default_zero(claim, "kind", "PersistentVolumeClaim");
            default_to(map_mut(claim, "spec"), "volumeMode", "Filesystem");
            default_zero(map_mut(claim, "status"), "phase", "Pending");
        }
        default_zero(spec, "podManagementPolicy", "OrderedReady");
        let strategy = map_mut(spec, "updateStrategy");
        if strategy["type"].as_str().is_none_or(str::is_empty) {
            default_zero(strategy, "type", "RollingUpdate");
            map_mut(strategy, "rollingUpdate");
        }
        if strategy["type"] == "RollingUpdate" && !absent(&strategy["rollingUpdate"]) {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "partition", 0);
        }
        let retention = map_mut(spec, "persistentVolumeClaimRetentionPolicy");
        default_zero(retention, "whenDeleted", "Retain");
        default_zero(retention, "whenScaled", "Retain");
        default_to(spec, "revisionHistoryLimit", 10);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        drop_disabled(object);
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        drop_disabled(object);
        update_with_generation(object, old);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        let service = spec.key("serviceName");
        validate_spec(&spec, true, &mut errors);
        if !service.text().is_empty() {
            let problems = names::dns1123_label(service.text());
            errors.extend(problems.iter().map(|problem| service.invalid(problem)));
        }
        errors
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        let template = At::field(object, "spec").key("template");
        let mut warnings = warnings::pod_template(&template, warnings::spec_changed(object, old));
        if int(&object["spec"]["revisionHistoryLimit"]) < 0 {
            let advice = "a negative value retains all historical revisions; a value >= 0 is recommended";
            warnings.push(format!("spec.revisionHistoryLimit: {advice}"));
        }
        warnings
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        const MAY_CHANGE: [&str; 7] = [
            "replicas",
            "template",
            "updateStrategy",
            "minReadySeconds",
            "ordinals",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
        ];
        let mut errors = ErrorList::new();
        let spec = At::field(object, "spec");
        validate_spec(&spec, false, &mut errors);
        let fixed = |spec: &Value| {
            let mut spec = spec.clone();
            for name in MAY_CHANGE {
                remove(&mut spec, name);
            }
            for claim in items_mut(&mut spec, "volumeClaimTemplates") {
                remove(claim, "status");
            }
            spec
        };
        if fixed(spec.value) != fixed(&old["spec"]) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                          'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                          'minReadySeconds' are forbidden";
            errors.push(spec.forbidden(detail));
        }
        errors
    }

    fn validate_status_update(&self, object: &Object, old: &Object) -> ErrorList {
        const COUNTERS: &[&str] = &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        const PARTS: &[(&str, &str, &str)] = &[
            ("readyReplicas", "replicas", "status.replicas"),
            ("currentReplicas", "replicas", "status.replicas"),
            ("updatedReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "readyReplicas", "status.readyReplicas"),
        ];
        let mut errors = ErrorList::new();
        let status = At::field(object, "status");
        template::counters(&status, COUNTERS, PARTS, &mut errors);
        let before = At::field(old, "status").key("collisionCount");
        template::not_decremented(&status.key("collisionCount"), &before, &mut errors);
        errors
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
            printers::age(object, now),
            names,
            images,
        ]
    }
}

fn validate_spec(spec: &At<'_>, create: bool, errors: &mut ErrorList) {
    let policy = spec.key("podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy.text()) {
        errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'"));
    }
    strategy(&spec.key("updateStrategy"), errors);
    let retention = spec.key("persistentVolumeClaimRetentionPolicy");
    for name in ["whenDeleted", "whenScaled"] {
        if !["Retain", "Delete"].contains(&retention.key(name).text()) {
            errors.push(retention.key(name).not_supported(&["Retain", "Delete"]));
        }
    }
    if create {
        for claim in spec.key("volumeClaimTemplates").items() {
            volume_claim::spec(&claim.key("spec"), errors);
        }
    }
    non_negative(&spec.key("replicas"), errors);
    non_negative(&spec.key("minReadySeconds"), errors);
    let start = At::new(
        spec.key("ordinals").key("start").value,
        format!("{}.ordinals.start", spec.path),
    );
    non_negative(&start, errors);
    template::workload_selector(spec, "statefulset", errors);
    if template::selected_template(spec, "", errors) {
        let with_claims = with_claimed_volumes(spec.value);
        template::pod_template(&At::new(&with_claims, format!("{}.template", spec.path)), errors);
    }
    template::always_restarts(spec, "StatefulSet", errors);
}

/// Drops what is no field of StatefulSets unless a feature is switched on that is off by default.
fn drop_disabled(object: &mut Object) {
    if let Some(rolling) = object.pointer_mut("/spec/updateStrategy/rollingUpdate") {
        remove(rolling, "maxUnavailable");
    }
}

/// The template as its pods will have it: claims are volumes too, and names of pods are not for the user to set.
fn with_claimed_volumes(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let pod = map_mut(&mut template, "spec");
    remove(pod, "subdomain");
    remove(pod, "hostname");
    let mut seen = HashSet::new();
    let claims = items(&spec["volumeClaimTemplates"]).iter();
    let claims: Vec<&Value> = claims
        .filter(|claim| seen.insert(text(&claim["metadata"]["name"])))
        .collect();
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|claim| {
            let name = &claim["metadata"]["name"];
            json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
        })
        .collect();
    let own = items(&pod["volumes"]).iter();
    volumes.extend(
        own.filter(|v| !claims.iter().any(|c| c["metadata"]["name"] == v["name"]))
            .cloned(),
    );
    if !claims.is_empty() {
        put(pod, "volumes", volumes.into());
    }
    template
}

fn strategy(at: &At<'_>, errors: &mut ErrorList) {
    let rolling = at.key("rollingUpdate");
    match at.key("type").text() {
        "OnDelete" if rolling.is_set() => {
            let shown = json!({"Partition": rolling.key("partition").int(), "MaxUnavailable": null});
            errors.push(rolling.invalid_value(&shown, "only allowed for updateStrategy 'RollingUpdate'"));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            non_negative(&rolling.key("partition"), errors);
        }
        other => {
            let shown = json!({"Type": other, "RollingUpdate": rolling.is_set().then(|| json!({
                "Partition": rolling.key("partition").value,
                "MaxUnavailable": null,
            }))});
            errors.push(at.invalid_value(&shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}
