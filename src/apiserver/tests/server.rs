//! The server as its clients see it: requests over TLS against a server in this process.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use apiserver::Profile;
use http::Method;
use serde_json::{Value, json};
use support::{Cluster, next, send};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// Nobody but the test makes these.
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_write_that_changes_nothing_writes_nothing_and_a_stale_one_conflicts() {
    let cluster = Cluster::start(Profile::Member).await;
    let created = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(created.code, 201);
    let created = created.json();
    let path = format!("{CONFIG_MAPS}/a");
    let same = cluster.put(&path, &created).await;
    assert_eq!((same.code.as_u16(), version(&same.json())), (200, version(&created)));
    let mut changed = created.clone();
    changed["data"]["a"] = "2".into();
    assert!(version(&cluster.put(&path, &changed).await.json()) > version(&created));
    let stale = cluster.put(&path, &created).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let again = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(
        (again.code.as_u16(), again.message().as_str()),
        (409, "configmaps \"a\" already exists")
    );
}

#[tokio::test]
async fn names_are_generated_and_a_dry_run_leaves_nothing() {
    let cluster = Cluster::start(Profile::Member).await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}});
    let created = cluster.post(CONFIG_MAPS, &object).await.json();
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    let dry = cluster
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("dry"))
        .await;
    assert_eq!(dry.code, 201);
    assert_eq!(dry.json()["metadata"].get("resourceVersion"), None);
    let missing = cluster.get(&format!("{CONFIG_MAPS}/dry")).await;
    assert_eq!(
        (missing.code.as_u16(), missing.message().as_str()),
        (404, "configmaps \"dry\" not found")
    );
}

#[tokio::test]
async fn a_list_in_pages_shows_one_state() {
    let cluster = Cluster::start(Profile::Member).await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.post(SECRETS, &secret(name)).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = cluster.get(&format!("{SECRETS}?limit=2")).await.json();
    assert_eq!(
        (names(&first).join(""), &first["metadata"]["remainingItemCount"]),
        ("ab".into(), &json!(3))
    );
    assert_eq!(first["items"][0].get("kind"), None, "items of a list carry no kind");
    cluster.delete(&format!("{SECRETS}/c")).await;
    cluster.post(SECRETS, &secret("cc")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second).join(""), "cd", "as it was when the list began");
    assert_eq!(version(&first), version(&second));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = cluster.get(&format!("{SECRETS}?limit=2&continue={token}")).await.json();
    assert_eq!(
        (names(&last).join(""), last["metadata"].get("continue")),
        ("e".into(), None)
    );
    let all = cluster
        .get(&format!("{SECRETS}?limit=2&resourceVersion=0"))
        .await
        .json();
    assert_eq!(names(&all).len(), 5, "a list of any state is not cut");
}

#[tokio::test]
async fn a_watch_list_tells_the_state_its_end_and_what_follows() {
    let cluster = Cluster::start(Profile::Member).await;
    let mut labelled = config_map("a");
    labelled["metadata"]["labels"] = json!({"app": "web"});
    cluster.post(CONFIG_MAPS, &labelled).await;
    cluster.post(CONFIG_MAPS, &config_map("b")).await;
    let path = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=app%3Dweb"
    );
    let mut events = cluster.watch(&path).await;
    let added = next(&mut events).await.unwrap();
    assert_eq!(
        (added["type"].as_str(), added["object"]["kind"].as_str()),
        (Some("ADDED"), Some("ConfigMap"))
    );
    let end = next(&mut events).await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let merge = "application/merge-patch+json";
    let object = format!("{CONFIG_MAPS}/a");
    cluster
        .patch(&object, merge, &json!({"metadata": {"labels": {"app": "db"}}}))
        .await;
    let left = next(&mut events).await.unwrap();
    assert_eq!(
        left["type"], "DELETED",
        "an object that leaves the selection is gone for its watchers"
    );
    let back = cluster
        .patch(&object, merge, &json!({"metadata": {"labels": {"app": "web"}}}))
        .await
        .json();
    let entered = next(&mut events).await.unwrap();
    assert_eq!(
        (entered["type"].as_str(), version(&entered["object"])),
        (Some("ADDED"), version(&back))
    );
    cluster.delete(&object).await;
    let deleted = next(&mut events).await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    assert!(
        version(&deleted["object"]) > version(&back),
        "a deletion has its own version"
    );
}

#[tokio::test]
async fn watches_end_cleanly_when_their_time_is_over_or_the_server_stops() {
    // Nobody but this test makes Secrets here; every namespace gets a ConfigMap in its own time.
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let cluster = Cluster::start(Profile::Member).await;
    let now = version(&cluster.get(SECRETS).await.json());
    let mut short = cluster
        .watch(&format!("{SECRETS}?watch=true&resourceVersion={now}&timeoutSeconds=1"))
        .await;
    assert_eq!(next(&mut short).await, None);
    let mut long = cluster
        .watch(&format!("{SECRETS}?watch=true&resourceVersion={now}"))
        .await;
    cluster.stop.cancel();
    assert_eq!(next(&mut long).await, None);
}

#[tokio::test]
async fn an_apply_conflicts_with_other_managers_until_forced() {
    let cluster = Cluster::start(Profile::Member).await;
    let apply = "application/apply-patch+yaml";
    let path = format!("{CONFIG_MAPS}/a");
    let created = cluster
        .patch(&format!("{path}?fieldManager=one"), apply, &config_map("a"))
        .await;
    assert_eq!(created.code, 201);
    let mut other = config_map("a");
    other["data"]["a"] = "2".into();
    let refused = cluster.patch(&format!("{path}?fieldManager=two"), apply, &other).await;
    assert_eq!(
        (refused.code.as_u16(), refused.message().as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .data.a")
    );
    let forced = cluster
        .patch(&format!("{path}?fieldManager=two&force=true"), apply, &other)
        .await;
    assert_eq!((forced.code.as_u16(), &forced.json()["data"]["a"]), (200, &json!("2")));
}

#[tokio::test]
async fn bodies_may_be_protobuf_yaml_or_json_without_a_content_type() {
    let cluster = Cluster::start(Profile::Member).await;
    let body = apimachinery::protobuf::encode(&config_map("pb")).unwrap();
    let created = send(
        &cluster.client,
        Method::POST,
        CONFIG_MAPS,
        "application/vnd.kubernetes.protobuf",
        body,
    )
    .await;
    assert_eq!(
        (created.code.as_u16(), &created.json()["data"]["a"]),
        (201, &json!("1"))
    );
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\n";
    let created = send(&cluster.client, Method::POST, CONFIG_MAPS, "application/yaml", yaml).await;
    assert_eq!(created.code, 201);
    let created = send(
        &cluster.client,
        Method::POST,
        CONFIG_MAPS,
        "",
        config_map("j").to_string(),
    )
    .await;
    assert_eq!(created.code, 201);
    let refused = send(
        &cluster.client,
        Method::POST,
        CONFIG_MAPS,
        "text/plain",
        config_map("t").to_string(),
    )
    .await;
    assert_eq!(refused.code, 415);
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let cluster = Cluster::start(Profile::Member).await;
    let mut object = config_map("a");
    object["foo"] = 1.into();
    let warned = cluster.post(CONFIG_MAPS, &object).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"foo\\\"\"");
    let refused = cluster
        .post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &object)
        .await;
    assert_eq!(refused.code, 400);
    assert!(
        refused
            .message()
            .contains("strict decoding error: unknown field \"foo\""),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn a_deleted_namespace_takes_nothing_new_and_empties_itself() {
    let cluster = Cluster::start(Profile::Member).await;
    cluster
        .post(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}}),
        )
        .await;
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let maps = "/api/v1/namespaces/gone/configmaps";
    cluster.post(maps, &held).await;
    cluster.post(maps, &config_map("free")).await;
    let deleted = cluster.delete("/api/v1/namespaces/gone").await.json();
    assert_eq!(deleted["status"]["phase"], "Terminating");
    let refused = cluster.post(maps, &config_map("late")).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.message().contains("because it is being terminated"),
        "{}",
        refused.message()
    );
    cluster
        .until(&format!("{maps}/free"), |answer| answer.code == 404)
        .await;
    cluster
        .patch(
            &format!("{maps}/held"),
            "application/merge-patch+json",
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    cluster
        .until("/api/v1/namespaces/gone", |answer| answer.code == 404)
        .await;
    let kept = cluster.delete("/api/v1/namespaces/default").await;
    assert_eq!(
        (kept.code.as_u16(), kept.message().as_str()),
        (
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted"
        )
    );
}

#[tokio::test]
async fn dependents_follow_their_owner_unless_orphaned() {
    let cluster = Cluster::start(Profile::Member).await;
    let own = async |name: &str| {
        let owner = cluster.post(CONFIG_MAPS, &config_map(name)).await.json();
        let mut child = config_map(&format!("{name}-child"));
        let uid = &owner["metadata"]["uid"];
        child["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true}]);
        assert_eq!(cluster.post(CONFIG_MAPS, &child).await.code, 201);
    };
    for (name, policy) in [("back", "Background"), ("fore", "Foreground"), ("orphan", "Orphan")] {
        own(name).await;
        cluster
            .delete(&format!("{CONFIG_MAPS}/{name}?propagationPolicy={policy}"))
            .await;
    }
    for name in ["back", "fore"] {
        cluster
            .until(&format!("{CONFIG_MAPS}/{name}-child"), |answer| answer.code == 404)
            .await;
    }
    for name in ["fore", "orphan"] {
        cluster
            .until(&format!("{CONFIG_MAPS}/{name}"), |answer| answer.code == 404)
            .await;
    }
    let left = cluster.get(&format!("{CONFIG_MAPS}/orphan-child")).await;
    assert_eq!(
        (left.code.as_u16(), left.json()["metadata"].get("ownerReferences")),
        (200, None)
    );
}

#[tokio::test]
async fn services_keep_their_addresses_over_a_restart() {
    let cluster = Cluster::start(Profile::Member).await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, address: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    let created = cluster.post(services, &service("a", "")).await.json();
    let address = created["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let directory = cluster.stop().await;
    let cluster = Cluster::start_in(directory, Profile::Member).await;
    assert_eq!(
        cluster.get(&format!("{services}/a")).await.json()["spec"]["clusterIP"],
        address.as_str()
    );
    let refused = cluster.post(services, &service("b", &address)).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.message().contains("provided IP is already allocated"),
        "{}",
        refused.message()
    );
    cluster.delete(&format!("{services}/a")).await;
    assert_eq!(cluster.post(services, &service("b", &address)).await.code, 201);
}

#[tokio::test]
async fn strangers_are_told_what_they_may_not_do() {
    let cluster = Cluster::start(Profile::Federation).await;
    let bob = cluster.with_token("bobtoken").await;
    let refused = send(&bob, Method::GET, CONFIG_MAPS, "", "").await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let nobody = cluster.with_token("wrong").await;
    let refused = send(&nobody, Method::GET, CONFIG_MAPS, "", "").await;
    assert_eq!(
        (refused.code.as_u16(), refused.message().as_str()),
        (401, "Unauthorized")
    );
    let anybody = cluster.with_token("").await;
    assert_eq!(send(&anybody, Method::GET, "/livez", "", "").await.body, "ok");
}

#[tokio::test]
async fn a_scale_changes_the_replicas_and_nothing_else() {
    let cluster = Cluster::start(Profile::Federation).await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    assert_eq!(cluster.post(path, &deployment).await.code, 201);
    let scale = cluster.get(&format!("{path}/web/scale")).await.json();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(2), &json!("app=web"))
    );
    let merge = "application/merge-patch+json";
    let scaled = cluster
        .patch(&format!("{path}/web/scale"), merge, &json!({"spec": {"replicas": 5}}))
        .await;
    assert_eq!(
        (scaled.code.as_u16(), &scaled.json()["spec"]["replicas"]),
        (200, &json!(5))
    );
    let refused = cluster
        .patch(&format!("{path}/web/scale"), merge, &json!({"spec": {"replicas": -1}}))
        .await;
    assert_eq!(refused.code, 422);
    let stored = cluster.get(&format!("{path}/web")).await.json();
    assert_eq!(
        (&stored["spec"]["replicas"], &stored["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
}

#[tokio::test]
async fn unknown_groups_and_resources_are_told_apart() {
    let cluster = Cluster::start(Profile::Federation).await;
    let group = cluster.get("/apis/nope.example.com/v1/things").await;
    assert_eq!(
        (group.code.as_u16(), &group.body[..]),
        (404, &b"404 page not found\n"[..])
    );
    let resource = cluster.get("/apis/apps/v1/things").await;
    assert_eq!(
        (resource.code.as_u16(), resource.json()["reason"].as_str()),
        (404, Some("NotFound"))
    );
    let pods = cluster.get("/api/v1/pods").await;
    assert_eq!(pods.code, 404, "the federation has no pods");
}

#[tokio::test]
async fn every_answer_has_the_standard_headers() {
    let cluster = Cluster::start(Profile::Federation).await;
    let answer = cluster.get(CONFIG_MAPS).await;
    for name in [
        "audit-id",
        "x-kubernetes-pf-flowschema-uid",
        "x-kubernetes-pf-prioritylevel-uid",
    ] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    let big = "x".repeat(3 * 1024 * 1024 + 1);
    assert_eq!(
        send(&cluster.client, Method::POST, CONFIG_MAPS, "application/json", big)
            .await
            .code,
        413
    );
}

#[tokio::test]
async fn a_pod_gets_the_credentials_of_its_account() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let cluster = Cluster::start(Profile::Member).await;
    let pod = |name: &str, account: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}})
    };
    let created = cluster.post(PODS, &pod("a", "")).await.json();
    assert_eq!(created["spec"]["serviceAccountName"], "default");
    let volume = &created["spec"]["volumes"][0];
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"]["path"],
        "token"
    );
    let mount = &created["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");

    let refused = cluster.post(PODS, &pod("b", "none")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "pods \"b\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found"
    );

    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "plain"},
        "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "registry"}]});
    cluster
        .post("/api/v1/namespaces/default/serviceaccounts", &account)
        .await;
    let created = cluster.post(PODS, &pod("c", "plain")).await.json();
    assert!(created["spec"]["volumes"].is_null(), "{created}");
    assert_eq!(created["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
}
