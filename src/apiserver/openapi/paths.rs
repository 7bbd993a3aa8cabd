//! The operations of every path.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameters::{APPLY, DELETE, DELETE_ALL, LIST, WRITE, parameters};
use super::schemas::{Collector, PATCH};
use super::{Resource, connect};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
const OBJECT_TYPES: [&str; 3] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
];
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Paths of the resources of one or more groups and versions.
pub(super) fn of(resources: &[&Resource], used: &mut Collector) -> Value {
    let mut paths: BTreeMap<String, Value> = BTreeMap::new();
    for resource in resources {
        let root = format!("/{}/", resource.root());
        paths
            .entry(root.clone())
            .or_insert_with(|| json!({"get": resource_list(resource, used)}));
        Operations {
            resource,
            used,
            paths: &mut paths,
            root,
        }
        .add();
    }
    Value::Object(paths.into_iter().collect())
}

fn resource_list(resource: &Resource, used: &mut Collector) -> Value {
    json!({
        "tags": [tag(resource)],
        "description": "get available resources",
        "operationId": format!("get{}APIResources", prefix(resource)),
        "responses": responses(&[200], &used.refer(RESOURCE_LIST)),
    })
}

/// `apps_v1`.
pub(super) fn tag(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        resource.group.trim_end_matches(".k8s.io")
    };
    format!("{}_{}", camel(group, false), resource.version)
}

/// `AppsV1`.
pub(super) fn prefix(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        resource.group.trim_end_matches(".k8s.io")
    };
    format!("{}{}", camel(group, true), camel(&resource.version, true))
}

/// `statefulSet` or, with the first letter changed as well, `StatefulSet`.
pub(super) fn camel(text: &str, first: bool) -> String {
    let mut upper = first;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '.' | '-' | '/' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Parameters of every operation of a path.
pub(super) fn path_parameters(resource: &Resource, namespaced: bool, named: bool) -> Vec<Value> {
    let path = |name: &str, text: String| json!({"name": name, "in": "path", "description": text, "required": true, "schema": {"type": "string", "uniqueItems": true}});
    let mut list = Vec::new();
    if named {
        list.push(path("name", format!("name of the {}", resource.kind.2)));
    }
    if namespaced {
        list.push(path("namespace", "namespace of the object".to_owned()));
    }
    list.extend(parameters(&["pretty"]));
    list
}

fn responses(codes: &[u16], schema: &Value) -> Value {
    let content: Map<String, Value> = OBJECT_TYPES
        .iter()
        .map(|ty| ((*ty).to_owned(), json!({"schema": schema})))
        .collect();
    let mut map = Map::new();
    for code in codes {
        let text = match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        map.insert(code.to_string(), json!({"description": text, "content": content}));
    }
    map.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(map)
}

struct Operations<'a> {
    resource: &'a Resource,
    used: &'a mut Collector,
    paths: &'a mut BTreeMap<String, Value>,
    root: String,
}

/// What an operation needs to be written.
struct Operation<'a> {
    /// HTTP method.
    method: &'a str,
    /// Action as Kubernetes calls it.
    action: &'a str,
    /// Verb of the sentence and of the operation's id.
    verb: &'a str,
    parameters: &'a [&'a str],
    body: Option<(&'a [&'a str], &'a str, bool)>,
    codes: &'a [u16],
    answer: &'a str,
}

impl Operations<'_> {
    fn add(mut self) {
        let resource = self.resource;
        let (name, below) = resource
            .name
            .split_once('/')
            .map_or((resource.name.as_str(), None), |(name, below)| (name, Some(below)));
        let scope = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let collection = format!("{}{scope}{name}", self.root);
        match below {
            Some(below) => {
                let path = format!("{collection}/{{name}}/{below}");
                for (rest, item) in connect::items(resource) {
                    self.paths.insert(format!("{path}{rest}"), item);
                }
                self.object(&path);
            }
            None => {
                self.collection(&collection);
                self.object(&format!("{collection}/{{name}}"));
                if resource.namespaced && self.has("list") {
                    let everywhere = format!("{}{name}", self.root);
                    self.put(&everywhere, false, false, "ForAllNamespaces", &[self.list()]);
                }
                self.watches(name, scope);
            }
        }
    }

    fn has(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|known| known == verb)
    }

    fn list(&self) -> Operation<'static> {
        Operation {
            method: "get",
            action: "list",
            verb: "list",
            parameters: LIST,
            body: None,
            codes: &[200],
            answer: "List",
        }
    }

    fn collection(&mut self, path: &str) {
        let mut operations = Vec::new();
        if self.has("list") {
            operations.push(self.list());
        }
        if self.has("create") {
            operations.push(Operation {
                method: "post",
                action: "post",
                verb: "create",
                parameters: WRITE,
                body: Some((&["*/*"], "", true)),
                codes: &[200, 201, 202],
                answer: "",
            });
        }
        if self.has("deletecollection") {
            operations.push(Operation {
                method: "delete",
                action: "deletecollection",
                verb: "delete",
                parameters: DELETE_ALL,
                body: Some((&["*/*"], DELETE_OPTIONS, false)),
                codes: &[200],
                answer: STATUS,
            });
        }
        self.put(path, self.resource.namespaced, false, "", &operations);
    }

    fn object(&mut self, path: &str) {
        let mut operations = Vec::new();
        if self.has("get") {
            operations.push(Operation {
                method: "get",
                action: "get",
                verb: "read",
                parameters: &[],
                body: None,
                codes: &[200],
                answer: "",
            });
        }
        if self.has("update") {
            operations.push(Operation {
                method: "put",
                action: "put",
                verb: "replace",
                parameters: WRITE,
                body: Some((&["*/*"], "", true)),
                codes: &[200, 201],
                answer: "",
            });
        }
        if self.resource.name.contains('/') && self.has("create") {
            operations.push(Operation {
                method: "post",
                action: "post",
                verb: "create",
                parameters: WRITE,
                body: Some((&["*/*"], "", true)),
                codes: &[200, 201, 202],
                answer: "",
            });
        }
        if self.has("delete") {
            operations.push(Operation {
                method: "delete",
                action: "delete",
                verb: "delete",
                parameters: DELETE,
                body: Some((&["*/*"], DELETE_OPTIONS, false)),
                codes: &[200, 202],
                answer: STATUS,
            });
        }
        if self.has("patch") {
            operations.push(Operation {
                method: "patch",
                action: "patch",
                verb: "patch",
                parameters: APPLY,
                body: Some((&PATCH_TYPES, PATCH, true)),
                codes: &[200, 201],
                answer: "",
            });
        }
        self.put(path, self.resource.namespaced, true, "", &operations);
    }

    /// The old watch paths.
    fn watches(&mut self, name: &str, scope: &str) {
        if !self.has("watch") {
            return;
        }
        let watch = |action: &'static str| Operation {
            method: "get",
            action,
            verb: "watch",
            parameters: LIST,
            body: None,
            codes: &[200],
            answer: WATCH_EVENT,
        };
        let root = self.root.clone();
        self.put(
            &format!("{root}watch/{scope}{name}"),
            self.resource.namespaced,
            false,
            "List",
            &[watch("watchlist")],
        );
        self.put(
            &format!("{root}watch/{scope}{name}/{{name}}"),
            self.resource.namespaced,
            true,
            "",
            &[watch("watch")],
        );
        if self.resource.namespaced {
            self.put(
                &format!("{root}watch/{name}"),
                false,
                false,
                "ListForAllNamespaces",
                &[watch("watchlist")],
            );
        }
    }

    fn put(&mut self, path: &str, namespaced: bool, named: bool, suffix: &str, operations: &[Operation<'_>]) {
        if operations.is_empty() {
            return;
        }
        let mut item = Map::new();
        for operation in operations {
            item.insert(
                operation.method.to_owned(),
                self.operation(operation, namespaced, suffix),
            );
        }
        item.insert(
            "parameters".to_owned(),
            path_parameters(self.resource, namespaced, named).into(),
        );
        self.paths.insert(path.to_owned(), Value::Object(item));
    }

    fn operation(&mut self, operation: &Operation<'_>, namespaced: bool, suffix: &str) -> Value {
        let resource = self.resource;
        let (group, version, kind) = &resource.kind;
        let below = resource
            .name
            .split_once('/')
            .map(|(_, below)| camel(below, true))
            .unwrap_or_default();
        let all = if operation.action == "deletecollection" {
            "Collection"
        } else {
            ""
        };
        let scope = if namespaced { "Namespaced" } else { "" };
        let object = if operation.action == "list" {
            format!("objects of kind {kind}")
        } else {
            format!("the specified {kind}")
        };
        let mut map = Map::new();
        map.insert("tags".to_owned(), json!([tag(resource)]));
        map.insert("description".to_owned(), format!("{} {object}", operation.verb).into());
        map.insert(
            "operationId".to_owned(),
            format!(
                "{}{}{all}{scope}{}{below}{suffix}",
                operation.verb,
                prefix(resource),
                resource.parent
            )
            .into(),
        );
        if !operation.parameters.is_empty() {
            map.insert("parameters".to_owned(), parameters(operation.parameters).into());
        }
        if let Some((media_types, type_name, required)) = operation.body {
            let name = if type_name.is_empty() {
                &resource.type_name
            } else {
                type_name
            };
            let schema = self.used.refer(name);
            let content: Map<String, Value> = media_types
                .iter()
                .map(|ty| ((*ty).to_owned(), json!({"schema": schema})))
                .collect();
            let mut body = Map::new();
            body.insert("content".to_owned(), content.into());
            if required {
                body.insert("required".to_owned(), true.into());
            }
            map.insert("requestBody".to_owned(), body.into());
        }
        let answer = match operation.answer {
            "" => resource.type_name.clone(),
            "List" => format!("{}List", resource.type_name),
            name => name.to_owned(),
        };
        map.insert(
            "responses".to_owned(),
            responses(operation.codes, &self.used.refer(&answer)),
        );
        map.insert("x-kubernetes-action".to_owned(), operation.action.into());
        map.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!({"group": group, "version": version, "kind": kind}),
        );
        Value::Object(map)
    }
}
