//! Pod.

mod admission;
mod quality;
mod validate;

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    defaults::pod_spec,
    json::{absent, default_zero, flag, int, items, map_mut, put, text},
    kind::{Column, KindDef, MEMBER, Strategy, Subresource},
    printers,
    strategy::{first_generation, keep_all_but_status, update_with_generation},
    validation::At,
    warnings,
};

/// Pod in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Pod",
    answers_deleted: true,
    resource: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource::Other("attach"),
        Subresource::Other("binding"),
        Subresource::Other("ephemeralcontainers"),
        Subresource::Other("eviction"),
        Subresource::Other("exec"),
        Subresource::Other("log"),
        Subresource::Other("portforward"),
        Subresource::Other("proxy"),
        Subresource::Other("resize"),
        Subresource::Status,
    ],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.Pod",
    selectable_fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    columns: &[
        Column::object_name(),
        Column::text("Ready", "Ready containers and all containers."),
        Column::text("Status", "State of the pod, over all containers."),
        Column::text("Restarts", "Restarts of its containers, and when the last one was."),
        Column::age(),
        Column::text("IP", "Address of the pod.").wide(),
        Column::text("Node", "Node it runs on.").wide(),
        Column::text("Nominated Node", "Node it waits for, pods being moved out of its way.").wide(),
        Column::text("Readiness Gates", "Readiness gates passed and all of them.").wide(),
    ],
    strategy: &Pod,
    ..KindDef::NAMESPACED
};

struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Object) {
        pod_spec::pod(map_mut(object, "spec"));
    }

    fn prepare_for_create(&self, object: &mut Object) {
        first_generation(object);
        admission::tolerate(map_mut(object, "spec"));
        let gated = !items(&object["spec"]["schedulingGates"]).is_empty();
        let mut status = json!({"phase": "Pending", "qosClass": quality::of_service(&object["spec"])});
        if gated {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message,
                "lastTransitionTime": object["metadata"]["creationTimestamp"]});
            put(&mut status, "conditions", json!([condition]));
        }
        put(object, "status", status);
    }

    fn validate(&self, object: &Object) -> ErrorList {
        validate::pod(object)
    }

    fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        if old.is_some_and(|old| old["spec"] == object["spec"]) {
            return Vec::new();
        }
        let name = if old.is_none() {
            warnings::name_of_pod(object)
        } else {
            None
        };
        let pod = warnings::pod(&At::field(object, "spec"), &At::field(object, "metadata"));
        name.into_iter().chain(pod).collect()
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        admission::tolerate(map_mut(object, "spec"));
        update_with_generation(object, old);
    }

    fn validate_update(&self, object: &Object, old: &Object) -> ErrorList {
        validate::change(object, old)
    }

    fn prepare_for_status_update(&self, object: &mut Object, old: &Object) {
        keep_all_but_status(object, old);
        put(
            map_mut(object, "metadata"),
            "ownerReferences",
            old["metadata"]["ownerReferences"].clone(),
        );
        let status = map_mut(object, "status");
        default_zero(status, "qosClass", old["status"]["qosClass"].clone());
        let first = status["podIPs"][0]["ip"].clone();
        let ip = status["podIP"].clone();
        if absent(&first) && !text(&ip).is_empty() {
            put(status, "podIPs", json!([{"ip": ip}]));
        } else if text(&ip).is_empty() {
            put(status, "podIP", first);
        }
    }

    fn validate_status_update(&self, object: &Object, old: &Object) -> ErrorList {
        validate::status(object, old)
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let ip = text(&status["podIP"]).to_owned();
        vec![
            text(&spec["nodeName"]).to_owned(),
            text(&spec["restartPolicy"]).to_owned(),
            text(&spec["schedulerName"]).to_owned(),
            text(&spec["serviceAccountName"]).to_owned(),
            flag(&spec["hostNetwork"]).to_string(),
            text(&status["phase"]).to_owned(),
            ip.clone(),
            ip,
            text(&status["nominatedNodeName"]).to_owned(),
        ]
    }

    fn grace_period(&self, object: &Object, requested: Option<i64>) -> Option<i64> {
        let ended = matches!(text(&object["status"]["phase"]), "Succeeded" | "Failed");
        if text(&object["spec"]["nodeName"]).is_empty() || ended {
            return None;
        }
        let seconds = requested.unwrap_or_else(|| int(&object["spec"]["terminationGracePeriodSeconds"]));
        (seconds != 0).then_some(seconds.max(1))
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let summary = printers::pod::summarize(object, now);
        let ip = items(&status["podIPs"]).first().map_or("", |ip| text(&ip["ip"]));
        vec![
            printers::name(object),
            format!("{}/{}", summary.ready, summary.containers).into(),
            summary.status.into(),
            summary.restarts.into(),
            printers::age(object, now),
            printers::or(ip, "<none>").into(),
            printers::or(text(&spec["nodeName"]), "<none>").into(),
            printers::or(text(&status["nominatedNodeName"]), "<none>").into(),
            readiness_gates(object).into(),
        ]
    }

    fn row_conditions(&self, object: &Object) -> Vec<Value> {
        let message = match text(&object["status"]["phase"]) {
            "Succeeded" => "The pod has completed successfully.",
            "Failed" => "The pod failed.",
            _ => return Vec::new(),
        };
        let phase = &object["status"]["phase"];
        vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
    }
}

fn readiness_gates(pod: &Object) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if absent(&pod["spec"]["readinessGates"]) || gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = items(&pod["status"]["conditions"]);
    let passed = |gate: &&Value| {
        conditions
            .iter()
            .find(|c| c["type"] == gate["conditionType"])
            .is_some_and(|c| c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(passed).count(), gates.len())
}
