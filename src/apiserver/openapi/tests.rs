use std::collections::BTreeSet;

use http::header::HeaderName;

use super::*;

fn all() -> OpenApi {
    OpenApi::new(api::kinds::all().iter().flat_map(resources_of).collect(), "1.36")
}

fn v3(openapi: &OpenApi, root: &str) -> Value {
    serde_json::from_slice(&openapi.v3(root).unwrap()).unwrap()
}

fn dangling(document: &Value) -> BTreeSet<String> {
    let mut dangling = BTreeSet::new();
    let mut queue = vec![document];
    while let Some(value) = queue.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    // No type's name has a slash or a tilde, so this is a JSON pointer as it stands.
                    if document.pointer(target.trim_start_matches('#')).is_none() {
                        dangling.insert(target.clone());
                    }
                }
                queue.extend(map.values());
            }
            Value::Array(items) => queue.extend(items),
            _ => {}
        }
    }
    dangling
}

#[test]
fn every_reference_leads_to_a_schema() {
    let openapi = all();
    for root in openapi.documents().keys() {
        assert_eq!(dangling(&v3(&openapi, root)), BTreeSet::new(), "{root}");
    }
    assert_eq!(
        dangling(&serde_json::from_slice(&openapi.v2()).unwrap()),
        BTreeSet::new()
    );
}

#[test]
fn kubectl_finds_out_that_the_server_validates_fields() {
    let document = v3(&all(), "apis/apps/v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
}

#[test]
fn schemas_tell_how_lists_are_patched_and_applied() {
    let document = v3(&all(), "apis/apps/v1");
    let schemas = &document["components"]["schemas"];
    let mut containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"].clone();
    containers.as_object_mut().unwrap().shift_remove("description").unwrap();
    assert_eq!(
        containers,
        json!({
            "type": "array", "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"},
            "x-kubernetes-list-map-keys": ["name"], "x-kubernetes-list-type": "map", "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
        })
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"][0]["kind"],
        "Deployment"
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentSpec"]["required"],
        json!(["selector", "template"])
    );
    assert_eq!(
        schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"],
        "TCP"
    );
}

#[test]
fn everything_that_is_explained_has_a_description() {
    let document: Value = serde_json::from_slice(&all().v2()).unwrap();
    let mut silent = Vec::new();
    // Kinds that are only ever listed empty have no type to explain.
    let types = apimachinery::schema::Schema::global();
    let absent: Vec<_> = api::kinds::all()
        .iter()
        .map(|kind| kind.type_name)
        .filter(|name| types.type_by_name(name).is_none())
        .collect();
    for (name, schema) in document["definitions"].as_object().unwrap() {
        if absent.contains(&name.strip_suffix("List").unwrap_or(name)) {
            continue;
        }
        if schema["description"].is_null() {
            silent.push(name.clone());
        }
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].is_null() {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    silent.retain(|name| !name.starts_with("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent"));
    assert_eq!(silent, Vec::<String>::new());
}

fn ask(openapi: &OpenApi, target: &str, headers: &[(HeaderName, &str)]) -> Response<Body> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect();
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    openapi.answer(path, query, &headers).unwrap()
}

#[test]
fn a_document_asked_for_by_its_hash_may_be_kept_and_a_wrong_hash_leads_to_the_right_one() {
    let openapi = all();
    let index: Value = serde_json::from_slice(&openapi.index()).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let right = ask(&openapi, url, &[]);
    assert_eq!(
        (right.status(), &right.headers()[CACHE_CONTROL]),
        (StatusCode::OK, &HeaderValue::from_static("public, immutable"))
    );
    let wrong = ask(&openapi, "/openapi/v3/apis/apps/v1?hash=00", &[]);
    assert_eq!(
        (wrong.status(), wrong.headers()[LOCATION].to_str().unwrap()),
        (StatusCode::MOVED_PERMANENTLY, url)
    );
    let etag = right.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(
        ask(&openapi, url, &[(IF_NONE_MATCH, &etag)]).status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        ask(&openapi, "/openapi/v3/apis/none/v1", &[]).status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ask(&openapi, url, &[(ACCEPT, "text/plain")]).status(),
        StatusCode::NOT_ACCEPTABLE
    );
    assert!(openapi.answer("/openapi", None, &HeaderMap::new()).is_none());
}

#[test]
fn version_2_is_had_in_the_media_type_that_was_asked_for() {
    let openapi = all();
    let media_type = |accept: &str| {
        ask(&openapi, "/openapi/v2", &[(ACCEPT, accept)])
            .headers()
            .get(CONTENT_TYPE)
            .cloned()
    };
    assert_eq!(media_type("application/json").unwrap(), JSON);
    assert_eq!(media_type(V2_PROTOBUF).unwrap(), V2_PROTOBUF_ANSWER);
    assert_eq!(media_type("text/plain"), None);
}

/// Fields of a message: number and content, for messages and texts only.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                found.push((tag >> 3, &bytes[..length]));
                bytes = &bytes[length..];
            }
            0 => {
                varint(&mut bytes);
            }
            wire => panic!("unexpected wire type {wire}"),
        }
    }
    found
}

#[test]
fn version_2_in_protobuf_has_the_same_paths_and_definitions() {
    let openapi = all();
    let json: Value = serde_json::from_slice(&openapi.v2()).unwrap();
    let bytes = openapi.v2_protobuf();
    let document = fields(&bytes);
    let names = |number: u64, entry: u64| -> BTreeSet<String> {
        let (_, message) = document.iter().find(|(field, _)| *field == number).unwrap();
        let entries = fields(message).into_iter().filter(|(field, _)| *field == entry);
        entries
            .map(|(_, entry)| String::from_utf8(fields(entry)[0].1.to_vec()).unwrap())
            .collect()
    };
    let keys = |key: &str| -> BTreeSet<String> { json[key].as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(8, 2), keys("paths"));
    assert_eq!(names(9, 1), keys("definitions"));
}

#[test]
fn logs_commands_and_proxies_have_the_operations_that_clients_are_generated_from() {
    let document = v3(&all(), "api/v1");
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let id = |path: String, method: &str| document["paths"][path][method]["operationId"].clone();
    for (below, method, wanted) in [
        ("/log", "get", "readCoreV1NamespacedPodLog"),
        ("/exec", "get", "connectCoreV1GetNamespacedPodExec"),
        ("/portforward", "post", "connectCoreV1PostNamespacedPodPortforward"),
        ("/proxy/{path}", "put", "connectCoreV1PutNamespacedPodProxyWithPath"),
        ("/eviction", "post", "createCoreV1NamespacedPodEviction"),
        ("/resize", "patch", "patchCoreV1NamespacedPodResize"),
    ] {
        assert_eq!(id(format!("{pod}{below}"), method), wanted);
    }
    let token = "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token".to_owned();
    assert_eq!(id(token, "post"), "createCoreV1NamespacedServiceAccountToken");
}
