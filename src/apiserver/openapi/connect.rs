//! Operations of what is no exchange of objects: logs, commands in containers, forwarded ports and proxies.

use serde_json::{Map, Value, json};

use super::Resource;
use super::paths::{camel, path_parameters, prefix, tag};

const CONTAINER: (&str, &str, &str) = (
    "container",
    "string",
    "Name of the container; needed if the pod has several.",
);
const STREAMS: [(&str, &str, &str); 4] = [
    ("stderr", "boolean", "Redirect the standard error stream."),
    ("stdin", "boolean", "Redirect the standard input stream."),
    ("stdout", "boolean", "Redirect the standard output stream."),
    ("tty", "boolean", "Whether there is a terminal."),
];
const LOG: &[(&str, &str, &str)] = &[
    CONTAINER,
    ("follow", "boolean", "Go on with what is logged from now on."),
    (
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not verify the certificate of the kubelet.",
    ),
    ("limitBytes", "integer", "Most bytes to answer."),
    ("previous", "boolean", "The log of the container that ran before."),
    (
        "sinceSeconds",
        "integer",
        "Only what was logged in so many seconds before now.",
    ),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Only so many lines from the end."),
    ("timestamps", "boolean", "Begin every line with its time."),
];
const PORTS: (&str, &str, &str) = ("ports", "integer", "Ports to forward; needed over WebSocket.");
const PATH: (&str, &str, &str) = ("path", "string", "Path of the request that is passed on.");
const TEXT_TYPES: [&str; 4] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
    "text/plain",
];
const STREAM_METHODS: &[&str] = &["get", "post"];
const PROXY_METHODS: &[&str] = &["delete", "get", "head", "options", "patch", "post", "put"];

/// A subresource that connects to something else, and how.
struct Connection {
    /// What its options are called.
    options: String,
    methods: &'static [&'static str],
    parameters: Vec<(&'static str, &'static str, &'static str)>,
}

fn connection(resource: &Resource, name: &str) -> Option<Connection> {
    let streams = |first: Option<(&'static str, &'static str, &'static str)>| {
        first.into_iter().chain([CONTAINER]).chain(STREAMS).collect()
    };
    let (options, methods, parameters) = match name {
        "exec" => {
            let command = (
                "command",
                "string",
                "The command and its arguments, one parameter each.",
            );
            ("ExecOptions", STREAM_METHODS, streams(Some(command)))
        }
        "attach" => ("AttachOptions", STREAM_METHODS, streams(None)),
        "portforward" => ("PortForwardOptions", STREAM_METHODS, vec![PORTS]),
        "proxy" => ("ProxyOptions", PROXY_METHODS, vec![PATH]),
        _ => return None,
    };
    Some(Connection {
        options: format!("{}{options}", resource.parent),
        methods,
        parameters,
    })
}

/// The path items of a resource below which something is connected to, by what follows the path of the resource;
/// none if it is not such a one.
pub(super) fn items(resource: &Resource) -> Vec<(&'static str, Value)> {
    let Some((_, name)) = resource.name.split_once('/') else {
        return Vec::new();
    };
    if name == "log" {
        return vec![("", log(resource))];
    }
    let Some(connection) = connection(resource, name) else {
        return Vec::new();
    };
    let mut items = vec![("", item(resource, name, &connection, ""))];
    if name == "proxy" {
        let mut with_path = item(resource, name, &connection, "WithPath");
        let path = json!({"name": "path", "in": "path", "description": "path to the resource", "required": true,
            "schema": {"type": "string", "uniqueItems": true}});
        if let Some(parameters) = with_path["parameters"].as_array_mut() {
            parameters.push(path);
        }
        items.push(("/{path}", with_path));
    }
    items
}

fn query(parameters: &[(&str, &str, &str)]) -> impl Iterator<Item = Value> {
    parameters.iter().map(|(name, ty, text)| {
        json!({"name": name, "in": "query", "description": text, "schema": {"type": ty, "uniqueItems": true}})
    })
}

/// Parameters in the path, less the one that only answers in JSON heed.
fn place(resource: &Resource) -> Vec<Value> {
    let mut all = path_parameters(resource, resource.namespaced, true);
    all.retain(|parameter| parameter["in"] == "path");
    all
}

fn scope(resource: &Resource) -> &'static str {
    if resource.namespaced { "Namespaced" } else { "" }
}

fn text_of(types: &[&str]) -> Value {
    let text = json!({"schema": {"type": "string"}});
    let content: Map<String, Value> = types.iter().map(|ty| ((*ty).to_owned(), text.clone())).collect();
    json!({"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}})
}

fn log(resource: &Resource) -> Value {
    let mut parameters = path_parameters(resource, true, true);
    parameters.extend(query(LOG));
    json!({
        "get": {
            "tags": [tag(resource)],
            "description": format!("read log of the specified {}", resource.parent),
            "operationId": format!("read{}{}{}Log", prefix(resource), scope(resource), resource.parent),
            "responses": text_of(&TEXT_TYPES),
            "x-kubernetes-action": "get",
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": resource.parent},
        },
        "parameters": parameters,
    })
}

fn item(resource: &Resource, name: &str, connection: &Connection, suffix: &str) -> Value {
    let mut item = Map::new();
    for method in connection.methods {
        let id = format!(
            "connect{}{}{}{}{}{suffix}",
            prefix(resource),
            camel(method, true),
            scope(resource),
            resource.parent,
            camel(name, true)
        );
        let operation = json!({
            "tags": [tag(resource)],
            "description": format!("connect {} requests to {name} of {}", method.to_uppercase(), resource.parent),
            "operationId": id,
            "responses": text_of(&["*/*"]),
            "x-kubernetes-action": "connect",
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": connection.options},
        });
        item.insert((*method).to_owned(), operation);
    }
    let parameters: Vec<Value> = place(resource)
        .into_iter()
        .chain(query(&connection.parameters))
        .collect();
    item.insert("parameters".to_owned(), parameters.into());
    Value::Object(item)
}
