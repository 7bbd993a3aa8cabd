//! Validation of Pods.

use apimachinery::{
    Object,
    field::{self, ErrorList},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use crate::{
    json::{items, items_mut, put},
    validation::{
        At, immutable,
        pod_spec::{Place, pod_spec},
        text,
    },
};

/// Errors of a new pod.
pub(super) fn pod(pod: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::field(pod, "spec");
    pod_spec(&spec, Place::Pod, &mut errors);
    for image in ["containers", "initContainers"]
        .iter()
        .flat_map(|kind| spec.key(kind).items())
        .map(|c| c.key("image"))
    {
        if image.text().trim() != image.text() {
            errors.push(image.invalid("must not have leading or trailing whitespace"));
        }
    }
    let cost = &pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"];
    if let Some(given) = cost.as_str()
        && !(given == "0" || given.parse::<i32>().is_ok() && !given.starts_with(['+', '0']))
    {
        let path = "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]";
        errors.push(field::invalid(path, cost, "must be a 32bit integer"));
    }
    errors
}

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),\
                          `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Errors of a changed pod: little of it may change.
pub(super) fn change(pod: &Object, old: &Object) -> ErrorList {
    let mut errors = self::pod(pod);
    let (spec, before) = (At::field(pod, "spec"), &old["spec"]);
    for kind in ["containers", "initContainers"] {
        let containers = spec.key(kind);
        if containers.len() != items(&before[kind]).len() {
            errors.push(containers.forbidden("pod updates may not add or remove containers"));
            return errors;
        }
        for container in containers.items() {
            if container.key("image").text().is_empty() {
                errors.push(container.key("image").required(""));
            }
        }
    }
    deadline(&spec, before, &mut errors);
    let tolerations = spec.key("tolerations");
    let kept = |toleration: &Value| items(tolerations.value).contains(toleration);
    if !items(&before["tolerations"]).iter().all(kept) {
        errors.push(tolerations.forbidden("existing toleration can not be modified except its tolerationSeconds"));
    }
    let gates = spec.key("schedulingGates");
    for gate in gates
        .items()
        .filter(|gate| !items(&before["schedulingGates"]).contains(gate.value))
    {
        errors.push(gate.forbidden("only deletion is allowed, but found new scheduling gate"));
    }
    if fixed(spec.value, before) != *before {
        errors.push(spec.forbidden(&format!("pod updates may not change fields other than {MAY_CHANGE}\n")));
    }
    errors
}

/// The new spec with the old values of everything that may change.
fn fixed(spec: &Value, before: &Value) -> Value {
    let mut fixed = spec.clone();
    for kind in ["containers", "initContainers"] {
        for (index, container) in items_mut(&mut fixed, kind).enumerate() {
            put(container, "image", before[kind][index]["image"].clone());
        }
    }
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(&mut fixed, name, before[name].clone());
    }
    if before["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
        && fixed["terminationGracePeriodSeconds"] == 1
    {
        put(
            &mut fixed,
            "terminationGracePeriodSeconds",
            before["terminationGracePeriodSeconds"].clone(),
        );
    }
    if !items(&before["schedulingGates"]).is_empty() {
        put(&mut fixed, "nodeSelector", before["nodeSelector"].clone());
        put(&mut fixed, "affinity", before["affinity"].clone());
    }
    fixed
}

fn deadline(spec: &At<'_>, before: &Value, errors: &mut ErrorList) {
    let deadline = spec.key("activeDeadlineSeconds");
    match (deadline.value.as_i64(), before["activeDeadlineSeconds"].as_i64()) {
        (Some(new), Some(old)) if new > old => {
            errors.push(deadline.invalid("must be less than or equal to previous value"));
        }
        (None, Some(_)) => errors.push(deadline.invalid("must not update from a positive integer to nil value")),
        _ => {}
    }
}

/// Errors of a changed status.
pub(super) fn status(pod: &Object, old: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = At::field(pod, "status");
    let nominated = status.key("nominatedNodeName");
    if nominated.value != &old["status"]["nominatedNodeName"] && !nominated.text().is_empty() {
        text(&nominated, names::dns1123_subdomain, &mut errors);
    }
    if status.key("observedGeneration").int() < 0 {
        errors.push(
            status
                .key("observedGeneration")
                .invalid("must be a non-negative integer"),
        );
    }
    immutable(&status.key("qosClass"), &old["status"]["qosClass"], &mut errors);
    container_states(&status, old, &mut errors);
    for address in ["podIPs", "hostIPs"].iter().flat_map(|kind| status.key(kind).items()) {
        let shown = At::new(&address.value["ip"], address.path.as_str());
        text(&shown, names::ip_legacy, &mut errors);
    }
    for amounts in status
        .key("containerStatuses")
        .items()
        .map(|c| c.key("allocatedResources"))
    {
        for (_, amount) in amounts.entries() {
            if Quantity::from_json(amount.value).is_ok_and(|q| q.sign() < 0) {
                errors.push(amount.invalid(crate::validation::NON_NEGATIVE));
            }
        }
    }
    errors
}

/// A container of a pod that does not restart stays ended once it has.
fn container_states(status: &At<'_>, old: &Object, errors: &mut ErrorList) {
    let policy = &old["spec"]["restartPolicy"];
    if policy == "Always" {
        return;
    }
    let own_policy = |name: &Value| {
        let container = items(&old["spec"]["containers"]).iter().find(|c| c["name"] == *name);
        container.is_some_and(|c| !c["restartPolicy"].is_null())
    };
    let statuses = status.key("containerStatuses");
    for (index, before) in items(&old["status"]["containerStatuses"]).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        let restarts = policy == "OnFailure" && ended["exitCode"] != 0;
        if ended.is_null() || restarts || own_policy(&before["name"]) {
            continue;
        }
        let now = items(statuses.value).iter().find(|s| s["name"] == before["name"]);
        if now.is_some_and(|now| now["state"]["terminated"].is_null()) {
            let state = statuses.index(index).key("state");
            errors.push(state.forbidden("may not be transitioned to non-terminated state"));
        }
    }
}
