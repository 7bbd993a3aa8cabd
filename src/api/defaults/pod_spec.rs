//! Defaults of pod specs and pod templates.

use serde_json::{Value, json};

use super::{container::container, volume::volume};
use crate::json::{default_to, default_zero, empty, entries, int, items_mut, map_mut, put, text};

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in the defaults of the template in `parent.template`.
pub(crate) fn pod_template(parent: &mut Value) {
    let template = map_mut(parent, "template");
    map_mut(template, "metadata");
    pod_spec(map_mut(template, "spec"));
}

/// Fills in the defaults every pod spec has, in a template or in a pod.
pub(crate) fn pod_spec(spec: &mut Value) {
    for kind in CONTAINERS {
        items_mut(spec, kind).for_each(container);
    }
    items_mut(spec, "volumes").for_each(volume);
    default_zero(spec, "restartPolicy", "Always");
    default_to(spec, "terminationGracePeriodSeconds", 30);
    default_zero(spec, "dnsPolicy", "ClusterFirst");
    service_account(spec);
    default_to(spec, "securityContext", json!({}));
    default_zero(spec, "schedulerName", "default-scheduler");
}

/// The old field `serviceAccount` always says the same as `serviceAccountName`.
fn service_account(spec: &mut Value) {
    let name = match text(&spec["serviceAccountName"]) {
        "" => text(&spec["serviceAccount"]).to_owned(),
        name => name.to_owned(),
    };
    if !name.is_empty() {
        put(spec, "serviceAccountName", name.as_str().into());
        put(spec, "serviceAccount", name.into());
    }
}

/// Fills in the defaults only pods have.
pub(crate) fn pod(spec: &mut Value) {
    pod_spec(spec);
    default_to(spec, "enableServiceLinks", true);
    if int(&spec["terminationGracePeriodSeconds"]) < 0 {
        put(spec, "terminationGracePeriodSeconds", 1.into());
    }
    let host_network = spec["hostNetwork"] == true;
    for kind in ["containers", "initContainers"] {
        for container in items_mut(spec, kind) {
            requests_from_limits(container);
            if host_network {
                items_mut(container, "ports").for_each(host_port);
            }
        }
    }
}

/// What is limited but not requested is requested in full.
fn requests_from_limits(container: &mut Value) {
    let limits = container["resources"]["limits"].clone();
    if empty(&limits) {
        return;
    }
    let requests = map_mut(map_mut(container, "resources"), "requests");
    for (name, amount) in entries(&limits) {
        default_to(requests, name, amount.clone());
    }
}

fn host_port(port: &mut Value) {
    let number = int(&port["containerPort"]);
    default_zero(port, "hostPort", number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gets_every_default() {
        let mut parent = json!({"template": {"spec": {"containers": [{
            "name": "a", "image": "nginx",
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        }], "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}}});
        pod_template(&mut parent);
        let expected = json!({"metadata": {}, "spec": {
            "containers": [{
                "name": "a", "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
                "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "resources": {},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        }});
        assert_eq!(parent["template"], expected);
    }

    #[test]
    fn a_pod_requests_what_it_is_limited_to() {
        let mut spec = json!({"hostNetwork": true, "containers": [{"image": "a:1", "ports": [{"containerPort": 8080}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]});
        pod(&mut spec);
        let container = &spec["containers"][0];
        assert_eq!(
            container["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
        assert_eq!(container["ports"][0]["hostPort"], 8080);
        assert_eq!(spec["enableServiceLinks"], true);
    }

    #[test]
    fn both_spellings_of_the_service_account_agree() {
        for given in ["serviceAccount", "serviceAccountName"] {
            let mut spec = json!({given: "robot"});
            pod_spec(&mut spec);
            assert_eq!(
                (&spec["serviceAccount"], &spec["serviceAccountName"]),
                (&json!("robot"), &json!("robot"))
            );
        }
    }
}
