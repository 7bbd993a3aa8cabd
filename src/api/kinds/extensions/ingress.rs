//! Ingress of `extensions/v1beta1`: `serviceName` and `servicePort` instead of a nested service.

use apimachinery::{Object, field::ErrorList};
use serde_json::{Value, json};

use crate::{
    json::{default_to, items_mut, map_mut, put, remove, rename},
    kind::{Conversion, Strategy},
    kinds::networking,
};

pub(super) const CONVERSION: Conversion = Conversion {
    group: "networking.k8s.io",
    version: "v1",
    to_storage,
    from_storage,
    validate: |_| ErrorList::new(),
    deprecation: Some(
        "extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress",
    ),
};

pub(super) struct Defaults;

impl Strategy for Defaults {
    fn default(&self, object: &mut Object) {
        for path in paths(object) {
            default_to(path, "pathType", "ImplementationSpecific");
        }
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        networking::ingress::DEF.strategy.row(object, now)
    }
}

fn paths(ingress: &mut Object) -> impl Iterator<Item = &mut Value> {
    ingress
        .get_mut("spec")
        .into_iter()
        .flat_map(|spec| items_mut(spec, "rules"))
        .filter_map(|rule| rule.get_mut("http"))
        .flat_map(|http| items_mut(http, "paths"))
}

fn to_storage(object: &mut Object) {
    object["apiVersion"] = "networking.k8s.io/v1".into();
    for path in paths(object) {
        if let Some(backend) = path.get_mut("backend") {
            nest(backend);
        }
    }
    rename(map_mut(object, "spec"), "backend", "defaultBackend");
    if let Some(backend) = map_mut(object, "spec").get_mut("defaultBackend") {
        nest(backend);
    }
}

fn from_storage(object: &mut Object) {
    object["apiVersion"] = "extensions/v1beta1".into();
    for path in paths(object) {
        if let Some(backend) = path.get_mut("backend") {
            flatten(backend);
        }
    }
    rename(map_mut(object, "spec"), "defaultBackend", "backend");
    if let Some(backend) = map_mut(object, "spec").get_mut("backend") {
        flatten(backend);
    }
}

fn nest(backend: &mut Value) {
    let name = remove(backend, "serviceName");
    let port = remove(backend, "servicePort");
    if name.is_none() && port.is_none() {
        return;
    }
    let mut service = json!({"name": name.unwrap_or_default()});
    match port {
        Some(number @ Value::Number(_)) => put(&mut service, "port", json!({"number": number})),
        Some(name @ Value::String(_)) => put(&mut service, "port", json!({"name": name})),
        _ => {}
    }
    put(backend, "service", service);
}

fn flatten(backend: &mut Value) {
    let Some(service) = remove(backend, "service") else {
        return;
    };
    put(backend, "serviceName", service["name"].clone());
    let port = &service["port"];
    let port = if port["number"].is_null() {
        &port["name"]
    } else {
        &port["number"]
    };
    put(backend, "servicePort", port.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_nested_and_flattened() {
        let old = json!({"apiVersion": "extensions/v1beta1", "spec": {
            "rules": [{"http": {"paths": [{"path": "/", "backend": {"serviceName": "a", "servicePort": 80}}]}}],
            "backend": {"serviceName": "b", "servicePort": "http"},
        }});
        let mut object = old.clone();
        to_storage(&mut object);
        let path = &object["spec"]["rules"][0]["http"]["paths"][0];
        assert_eq!(
            path["backend"],
            json!({"service": {"name": "a", "port": {"number": 80}}})
        );
        assert_eq!(
            object["spec"]["defaultBackend"],
            json!({"service": {"name": "b", "port": {"name": "http"}}})
        );
        from_storage(&mut object);
        assert_eq!(object, old);
    }

    #[test]
    fn paths_match_as_the_implementation_likes_by_default() {
        let mut object = json!({"spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}});
        Defaults.default(&mut object);
        assert_eq!(
            object["spec"]["rules"][0]["http"]["paths"][0]["pathType"],
            "ImplementationSpecific"
        );
    }
}
