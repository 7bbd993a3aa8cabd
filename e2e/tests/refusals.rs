//! Bad input, from outside: each mistake is met with the error that Kubernetes users know, and changes nothing.

use std::time::Duration;

use e2e::{CLUSTERS, Federation, eventually};

/// A ReplicaSet with one of its parts replaced.
fn replica_set(replace: &str, with: &str) -> String {
    let good = include_str!("../../manifests/hello/replicaset.yaml");
    assert!(good.contains(replace), "the manifest has no {replace:?}");
    good.replacen(replace, with, 1)
}

#[test]
fn manifests_with_mistakes_are_refused_and_nothing_is_created() {
    let federation = Federation::start();
    let annotation = "federation.kubernetes.io/replica-set-preferences";
    let preferring = |json: &str| replica_set(r#"{"rebalance": true, "clusters": {"*": {"weight": 1}}}"#, json);
    let cases = [
        (
            replica_set("kind: ReplicaSet", "kind: ReplicaSett"),
            "no matches for kind \"ReplicaSett\" in version \"apps/v1\"",
        ),
        (
            replica_set("name: hello", "name: Hello_World"),
            "metadata.name: Invalid value: \"Hello_World\": a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            replica_set("replicas: 9", "replicas: -9"),
            "spec.replicas: Invalid value: -9: must be greater than or equal to 0",
        ),
        (
            replica_set("app: hello", "app: other"),
            "`selector` does not match template `labels`",
        ),
        (preferring(r#"{"clusters": {"*": {"weight": -1}}}"#), annotation),
        (preferring(r#"{"clusters": "#), annotation),
    ];
    for (manifest, wanted) in cases {
        let error = federation.create_output(&manifest).expect_error();
        assert!(error.contains(wanted), "expected {wanted:?} in: {error}");
    }
    let left = federation
        .kubectl("federation", &["get", "rs", "-A", "-o", "name"])
        .expect();
    assert_eq!(left, "", "a refused object was created");

    // An unknown key was ignored by Federation v1: it still is, but is told.
    let accepted = federation.create_output(&preferring(r#"{"clusters": {"*": {"wait": 1}}}"#));
    let warning = format!("Warning: metadata.annotations[{annotation}]: unknown field \"clusters[*].wait\"");
    assert!(accepted.success && accepted.stderr.contains(&warning), "{accepted:?}");
}

#[test]
fn an_ingress_that_leads_nowhere_says_so() {
    let federation = Federation::start();
    federation.create(include_str!("../../manifests/hello/ingress.yaml"));
    eventually(
        "503 for the missing service",
        Duration::from_secs(20),
        || match federation.visit("127.1.0.1", "example.com", "/") {
            Ok(answer) if answer.status == 503 && answer.body.contains("default/hello") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    eventually("an event names the service", Duration::from_secs(20), || {
        let events = federation.kubectl("federation", &["events", "--for=ingress/hello"]);
        let text = format!("{}{}", events.stdout, events.stderr);
        if text.contains("Warning") && text.contains("hello") {
            Ok(())
        } else {
            Err(text)
        }
    });
    // A host nobody serves: the hello Ingress takes every host, so it gets one of its own first.
    let hosts = [
        "patch",
        "ingress/hello",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/spec/rules/0/host","value":"example.com"}]"#,
    ];
    let _ = federation.kubectl("federation", &hosts).expect();
    eventually(
        "404 for an unknown host",
        Duration::from_secs(20),
        || match federation.visit("127.1.0.1", "nobody.example.org", "/") {
            Ok(answer) if answer.status == 404 && answer.body.contains("nobody.example.org") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

#[test]
fn wrong_credentials_addresses_and_names_are_told_apart() {
    let federation = Federation::start();
    let other = Federation::start();
    let host = format!("--host-cluster-context={}", CLUSTERS[0]);
    let context = |name: &str| format!("--cluster-context={name}");

    // A certificate authority that did not sign the server's certificate.
    let authority = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let view = ["config", "view", "--raw", "--minify", "-o", authority];
    let foreign = other.kubectl("federation", &view).expect();
    let file = federation.dir().join("bad-ca.kubeconfig");
    std::fs::copy(federation.kubeconfig(), &file).unwrap();
    let bad_authority = format!("--kubeconfig={}", file.display());
    for cluster in CLUSTERS.iter().chain(&["federation"]) {
        let key = format!("clusters.{cluster}.certificate-authority-data");
        let set = ["config", "set", &key, &foreign, &bad_authority];
        let _ = federation.kubectl("federation", &set).expect();
    }
    let error = federation
        .kubectl("federation", &[&bad_authority, "get", "clusters"])
        .expect_error();
    assert!(
        error.contains("x509: certificate signed by unknown authority"),
        "{error}"
    );
    let error = federation
        .kubefed(&["join", "again", &host, &context(CLUSTERS[1]), &bad_authority])
        .expect_error();
    assert!(error.contains("certificate"), "{error}");

    // No credentials.
    let error = federation
        .kubectl("federation", &["--user=nobody", "get", "clusters"])
        .expect_error();
    assert!(error.contains("nobody"), "{error}");

    let cases = [
        (
            vec!["join", "new", &host, &context("no-such-context")],
            "no-such-context",
        ),
        (vec!["join", CLUSTERS[1], &host], "already joined"),
        (vec!["join", "Not_A_Label", &host, &context(CLUSTERS[1])], "DNS-1035"),
        (vec!["unjoin", "nobody", &host], "nobody"),
    ]
    .map(|(arguments, wanted)| (arguments.iter().map(ToString::to_string).collect::<Vec<_>>(), wanted));
    for (arguments, wanted) in cases {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let error = federation.kubefed(&arguments).expect_error();
        assert!(error.contains(wanted), "{arguments:?}: expected {wanted:?} in: {error}");
    }

    // A cluster that does not answer.
    federation.kill(CLUSTERS[2]);
    let error = federation
        .kubefed(&["join", "gone", &host, &context(CLUSTERS[2])])
        .expect_error();
    assert!(error.contains("https://127."), "the address is not told: {error}");
    assert!(
        error.to_lowercase().contains("refused"),
        "the reason is not told: {error}"
    );
}

#[test]
fn several_federations_live_side_by_side() {
    let one = Federation::start();
    let two = Federation::start();
    assert_ne!(one.ingress(), two.ingress());
    for federation in [&one, &two] {
        federation.create(include_str!("../../manifests/hello/replicaset.yaml"));
        federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    }
    let _ = one.kubectl("federation", &["delete", "rs/hello"]).expect();
    one.await_gone(CLUSTERS[1], "rs/hello");
    two.await_value(CLUSTERS[1], "rs/hello", "{.status.readyReplicas}", "3");
    let _ = one.kubefed(&["local", "down"]).expect();
    two.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
}
