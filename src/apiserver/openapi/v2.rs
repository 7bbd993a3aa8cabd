//! OpenAPI version 2, made out of version 3.

use serde_json::{Map, Value, json};

const PRODUCES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Converts a document of version 3.
pub(super) fn convert(mut document: Value) -> Value {
    let paths = document["paths"].take();
    let schemas = document["components"]["schemas"].take();
    json!({
        "swagger": "2.0",
        "info": document["info"].take(),
        "paths": entries(paths, path_item),
        "definitions": entries(schemas, definition),
        "securityDefinitions": document["components"]["securitySchemes"].take(),
        "security": [{"BearerToken": []}],
    })
}

fn entries(value: Value, convert: fn(Value) -> Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, convert(value))).collect(),
        other => other,
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let convert = |(key, value): (String, Value)| {
        let value = if key == "parameters" {
            list(value, parameter)
        } else {
            operation(value)
        };
        (key, value)
    };
    item.into_iter().map(convert).collect()
}

fn list(value: Value, convert: fn(Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(convert).collect(),
        other => other,
    }
}

/// Version 2 has no schema around the type of a parameter.
fn parameter(value: Value) -> Value {
    let Value::Object(mut map) = value else { return value };
    if let Some(Value::Object(schema)) = map.shift_remove("schema") {
        map.extend(schema);
    }
    Value::Object(map)
}

fn operation(value: Value) -> Value {
    let Value::Object(mut old) = value else { return value };
    let mut new = Map::new();
    let mut parameters: Vec<Value> = Vec::new();
    let mut consumes = json!(["*/*"]);
    if let Some(Value::Object(mut body)) = old.shift_remove("requestBody")
        && let Some(Value::Object(content)) = body.shift_remove("content")
    {
        consumes = content.keys().cloned().collect();
        let schema = content
            .into_iter()
            .next()
            .map(|(_, mut content)| definition(content["schema"].take()));
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if body.contains_key("required") {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    for key in ["description", "tags", "operationId"] {
        if let Some(value) = old.shift_remove(key) {
            new.insert(key.to_owned(), value);
        }
    }
    new.insert("consumes".to_owned(), consumes);
    new.insert("produces".to_owned(), json!(PRODUCES));
    new.insert("schemes".to_owned(), json!(["https"]));
    if let Some(Value::Array(query)) = old.shift_remove("parameters") {
        parameters.extend(query.into_iter().map(parameter));
    }
    if !parameters.is_empty() {
        new.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(responses) = old.shift_remove("responses") {
        new.insert("responses".to_owned(), entries(responses, response));
    }
    new.extend(old);
    Value::Object(new)
}

fn response(mut value: Value) -> Value {
    let mut new = json!({"description": value["description"].take()});
    if let Some(content) = value.pointer_mut("/content/application~1json/schema") {
        new["schema"] = definition(content.take());
    }
    new
}

/// Schemas refer elsewhere, need no `allOf` around a reference, and know no `oneOf`.
fn definition(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut new = Map::new();
            for (key, value) in map {
                match key.as_str() {
                    "$ref" => {
                        let target = value
                            .as_str()
                            .unwrap_or_default()
                            .replace("#/components/schemas/", "#/definitions/");
                        new.insert(key, target.into());
                    }
                    "allOf" => {
                        if let Value::Object(reference) = definition(value[0].clone()) {
                            new.extend(reference);
                        }
                    }
                    "oneOf" => {
                        new.insert("type".to_owned(), "string".into());
                    }
                    // Clients of version 2 take any default for one that the server has.
                    "default" => {}
                    "properties" => {
                        new.insert(key, entries(value, definition));
                    }
                    "items" | "additionalProperties" => {
                        new.insert(key, definition(value));
                    }
                    _ => {
                        new.insert(key, value);
                    }
                }
            }
            Value::Object(new)
        }
        other => other,
    }
}
