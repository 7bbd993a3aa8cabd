//! Who may do what, seen by a client of a whole server: TLS, certificates, tokens, RBAC, impersonation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, time::Duration};

use apiserver::{Args, Profile, Running};
use kube::{Client, Config, config::Kubeconfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DEFAULT: &str = "/api/v1/namespaces/default";

struct Server {
    running: Running,
    stop: CancellationToken,
    config: Config,
}

/// Starts a server on a directory; `bobtoken` is bob's.
async fn start(directory: &Path) -> Server {
    let tokens = directory.join("tokens.csv");
    std::fs::write(&tokens, "bobtoken,bob,bob-uid\n").unwrap();
    let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let line = [
        flag("data-dir", directory),
        flag("token-auth-file", &tokens),
        "--secure-port=0".to_owned(),
    ];
    let stop = CancellationToken::new();
    let running = apiserver::start(Args::parse_line(line).unwrap(), Profile::Federation, stop.clone())
        .await
        .unwrap();
    let kubeconfig = Kubeconfig::read_from(&running.admin_kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    Server { running, stop, config }
}

impl Server {
    fn admin(&self) -> Client {
        Client::try_from(self.config.clone()).unwrap()
    }

    /// A client with other credentials than the administrator's.
    fn client(&self, change: impl FnOnce(&mut Config)) -> Client {
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo::default();
        change(&mut config);
        Client::try_from(config).unwrap()
    }

    fn bearer(&self, token: &str) -> Client {
        self.client(|config| config.auth_info.token = Some(token.to_owned().into()))
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.done.await.unwrap();
    }
}

async fn call(client: &Client, method: &str, path: &str, body: Value) -> Result<Value, (u16, String)> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    match client.request_text(request.body(body).unwrap()).await {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(other) => panic!("{method} {path}: {other}"),
    }
}

async fn get(client: &Client, path: &str) -> Result<Value, (u16, String)> {
    call(client, "GET", path, Value::Null).await
}

async fn post(client: &Client, path: &str, body: Value) -> Result<Value, (u16, String)> {
    call(client, "POST", path, body).await
}

/// Who the server takes a client for.
async fn whoami(client: &Client) -> Result<Value, (u16, String)> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    Ok(post(client, REVIEWS, review).await?["status"]["userInfo"].take())
}

async fn service_account(admin: &Client, name: &str) -> String {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    post(admin, &format!("{DEFAULT}/serviceaccounts"), account)
        .await
        .unwrap();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let issued = post(admin, &format!("{DEFAULT}/serviceaccounts/{name}/token"), request)
        .await
        .unwrap();
    issued["status"]["token"].as_str().unwrap().to_owned()
}

async fn grant(admin: &Client, name: &str, rules: Value, subject: Value) {
    let (api, metadata) = ("rbac.authorization.k8s.io/v1", json!({"name": name}));
    let role = json!({"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
    post(admin, &format!("{RBAC}/clusterroles"), role).await.unwrap();
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = json!({"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": reference, "subjects": [subject]});
    post(admin, &format!("{RBAC}/clusterrolebindings"), binding)
        .await
        .unwrap();
}

/// Waits until a request is allowed: roles take effect as soon as the server's watch has seen them.
async fn until_allowed(client: &Client, path: &str) -> Value {
    let allowed = async {
        loop {
            match get(client, path).await {
                Err((403, _)) => tokio::time::sleep(Duration::from_millis(10)).await,
                other => return other.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), allowed).await.unwrap()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

#[tokio::test]
async fn anonymous_clients_see_health_and_version_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let anonymous = server.client(|_| {});
    assert_eq!(get(&anonymous, "/readyz").await.unwrap(), "ok");
    assert!(get(&anonymous, "/version").await.unwrap()["gitVersion"].is_string());
    let refused = "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \
                   \"\" in the namespace \"default\"";
    let answer = get(&anonymous, &format!("{DEFAULT}/configmaps")).await;
    assert_eq!(answer.unwrap_err(), (403, refused.to_owned()));
    let metrics = get(&anonymous, "/metrics").await.unwrap_err();
    assert_eq!(
        metrics.1,
        "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
    );
    assert_eq!(
        get(&server.bearer("wrong"), "/readyz").await.unwrap_err(),
        (401, "Unauthorized".to_owned())
    );
    server.stop().await;
}

#[tokio::test]
async fn certificates_and_tokens_say_who_somebody_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let admin = whoami(&server.admin()).await.unwrap();
    assert_eq!(admin["groups"], json!(["system:masters", "system:authenticated"]));
    let bob = whoami(&server.bearer("bobtoken")).await.unwrap();
    assert_eq!(
        bob,
        json!({"username": "bob", "uid": "bob-uid", "groups": ["system:authenticated"]})
    );
    let token = service_account(&server.admin(), "robot").await;
    let robot = whoami(&server.bearer(&token)).await.unwrap();
    assert_eq!(robot["username"], "system:serviceaccount:default:robot");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviewed = post(&server.admin(), "/apis/authentication.k8s.io/v1/tokenreviews", review)
        .await
        .unwrap();
    assert_eq!(reviewed["status"]["authenticated"], true);
    assert_eq!(reviewed["status"]["user"]["username"], robot["username"]);
    server.stop().await;
}

#[tokio::test]
async fn a_token_outlives_the_server_and_dies_with_its_account() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let token = service_account(&server.admin(), "robot").await;
    server.stop().await;
    let server = start(directory.path()).await;
    assert!(whoami(&server.bearer(&token)).await.is_ok());
    call(
        &server.admin(),
        "DELETE",
        &format!("{DEFAULT}/serviceaccounts/robot"),
        Value::Null,
    )
    .await
    .unwrap();
    let gone = async {
        while whoami(&server.bearer(&token)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    assert_eq!(whoami(&server.bearer(&token)).await.unwrap_err().0, 401);
    server.stop().await;
}

#[tokio::test]
async fn roles_grant_and_take_away() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let (admin, bob) = (server.admin(), server.bearer("bobtoken"));
    let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    grant(&admin, "readers", rules, user("bob")).await;
    until_allowed(&bob, &format!("{DEFAULT}/configmaps")).await;
    assert_eq!(get(&bob, &format!("{DEFAULT}/secrets")).await.unwrap_err().0, 403);
    let question = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = post(&bob, reviews, question.clone()).await.unwrap();
    let reason = "RBAC: allowed by ClusterRoleBinding \"readers\" of ClusterRole \"readers\" to User \"bob\"";
    assert_eq!(answer["status"], json!({"allowed": true, "reason": reason}));
    call(
        &admin,
        "DELETE",
        &format!("{RBAC}/clusterrolebindings/readers"),
        Value::Null,
    )
    .await
    .unwrap();
    let refused = async {
        while get(&bob, &format!("{DEFAULT}/configmaps")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap();
    assert_eq!(
        post(&bob, reviews, question).await.unwrap()["status"],
        json!({"allowed": false})
    );
    server.stop().await;
}

#[tokio::test]
async fn nobody_grants_more_than_he_holds() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let (admin, bob) = (server.admin(), server.bearer("bobtoken"));
    let rules = json!([{"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]);
    let limited = json!([{"verbs": ["get", "list", "create", "patch"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles", "clusterrolebindings"]}]);
    grant(&admin, "limited", limited, user("bob")).await;
    until_allowed(&bob, &format!("{RBAC}/clusterroles/limited")).await;
    let api = "rbac.authorization.k8s.io/v1";
    let role =
        |rules: &Value| json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "more"}, "rules": rules});
    let refused = post(&bob, &format!("{RBAC}/clusterroles"), role(&rules))
        .await
        .unwrap_err();
    assert_eq!(refused.0, 403);
    let why = "user \"bob\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
               {APIGroups:[\"rbac.authorization.k8s.io\"], Resources:[\"clusterroles\"], Verbs:[\"*\"]}";
    assert!(refused.1.ends_with(why), "{}", refused.1);
    let held = json!([{"verbs": ["get"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]);
    post(&bob, &format!("{RBAC}/clusterroles"), role(&held)).await.unwrap();
    let binding = json!({"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": "root"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [user("bob")]});
    assert_eq!(
        post(&bob, &format!("{RBAC}/clusterrolebindings"), binding)
            .await
            .unwrap_err()
            .0,
        403
    );
    server.stop().await;
}

#[tokio::test]
async fn who_may_impersonate_acts_as_somebody_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let mut config = server.config.clone();
    config.auth_info.impersonate = Some("alice".into());
    config.auth_info.impersonate_groups = Some(vec!["devs".into()]);
    let alice = whoami(&Client::try_from(config).unwrap()).await.unwrap();
    assert_eq!(
        alice,
        json!({"username": "alice", "groups": ["devs", "system:authenticated"]})
    );
    let bob_as_alice = server.client(|config| {
        config.auth_info.token = Some("bobtoken".to_owned().into());
        config.auth_info.impersonate = Some("alice".into());
    });
    let refused = get(&bob_as_alice, "/api/v1/namespaces").await.unwrap_err();
    let why = "namespaces is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"namespaces\" in API \
               group \"\" at the cluster scope";
    assert_eq!(refused, (403, why.to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn the_aggregated_roles_are_filled_and_follow_their_parts() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let admin = server.admin();
    let edit = get(&admin, &format!("{RBAC}/clusterroles/edit")).await.unwrap();
    assert!(edit["rules"].as_array().unwrap().len() > 10);
    let part = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "part", "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
        "rules": [{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]}]});
    post(&admin, &format!("{RBAC}/clusterroles"), part).await.unwrap();
    let has_part = |role: &Value| {
        role["rules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["apiGroups"] == json!(["example.com"]))
    };
    let followed = async {
        // admin gathers from edit, which gathers from the part.
        while !has_part(&get(&admin, &format!("{RBAC}/clusterroles/admin")).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), followed).await.unwrap();
    server.stop().await;
}
