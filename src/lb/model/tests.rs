//! What objects mean.

use super::*;

fn key_of(object: &Object) -> String {
    let name = json::text(object, "/metadata/name").expect("a name");
    json::text(object, "/metadata/namespace").map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn objects(all: &[Object]) -> Objects {
    let mut objects = Objects::default();
    for object in all {
        let of_kind = match object["kind"].as_str().expect("a kind") {
            "Ingress" => &mut objects.ingresses,
            "IngressClass" => &mut objects.classes,
            "Service" => &mut objects.services,
            "EndpointSlice" => &mut objects.slices,
            "Cluster" => &mut objects.clusters,
            "Secret" => &mut objects.secrets,
            other => panic!("unexpected kind {other}"),
        };
        of_kind.insert(key_of(object), Arc::new(object.clone()));
    }
    objects
}

fn cluster(name: &str, region: &str) -> Object {
    serde_json::json!({"kind": "Cluster", "metadata": {"name": name}, "spec": {}, "status": {"region": region}})
}

fn service(name: &str) -> Object {
    serde_json::json!({"kind": "Service", "metadata": {"namespace": "default", "name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

fn slice(service: &str, cluster: &str, addresses: &[&str], ready: u32, total: u32) -> Object {
    let endpoints: Vec<Object> = addresses
        .iter()
        .map(|address| serde_json::json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    serde_json::json!({"kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": format!("{service}-{cluster}"),
            "labels": {"kubernetes.io/service-name": service, "federation.kubernetes.io/cluster": cluster},
            "annotations": {
                "federation.kubernetes.io/endpoints": format!("{{\"ready\":{ready},\"total\":{total}}}"),
                "federation.kubernetes.io/service-ports": "{\"80\":30080}"}},
        "ports": [{"name": "http", "port": 30080}],
        "endpoints": endpoints})
}

fn ingress(name: &str, created: &str, host: &str, path: &str, service: &str) -> Object {
    serde_json::json!({"kind": "Ingress",
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"), "creationTimestamp": created},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
}

fn backend_of<'a>(config: &'a Config, host: &str, path: &str) -> Option<&'a Backend> {
    let target = *config.routes.find(host, path)?;
    Some(&config.backends[config.targets[target].backend])
}

#[test]
fn an_ingress_leads_to_the_reachable_endpoints_of_every_cluster() {
    let config = build(&objects(&[
        cluster("eu", "europe-west1"),
        cluster("us", "us-east1"),
        service("web"),
        slice("web", "eu", &["127.16.0.2", "127.16.0.1"], 2, 3),
        slice("web", "us", &["127.17.0.1"], 1, 1),
        ingress("web", "2026-01-01T00:00:00Z", "a.example", "/", "web"),
    ]));
    let backend = backend_of(&config, "a.example", "/x").expect("a route");
    assert_eq!((&*backend.key, &backend.problem), ("default/web:80", &None));
    assert_eq!(backend.members.len(), 2);
    let eu = &backend.members[0];
    assert_eq!((eu.cluster, eu.ready, eu.total), (0, 2.0, 3.0));
    assert_eq!(
        eu.endpoints,
        [("127.16.0.1", 30080), ("127.16.0.2", 30080)].map(|(host, port)| Endpoint {
            host: host.to_owned(),
            port
        })
    );
    assert_eq!(config.clusters[0].point, Some(Point::new(50.47, 3.82)));
    assert!(config.ingresses[0].problems.is_empty());
    assert!(backend_of(&config, "b.example", "/").is_none());
}

#[test]
fn a_port_is_found_by_name_or_number_and_without_the_annotation() {
    let mut bare = slice("web", "eu", &["127.16.0.1"], 1, 1);
    bare["metadata"]["annotations"] = serde_json::json!({});
    let mut by_name = ingress("web", "", "a.example", "/", "web");
    by_name["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = serde_json::json!({"name": "http"});
    let config = build(&objects(&[
        cluster("eu", "europe-west1"),
        service("web"),
        bare,
        by_name,
    ]));
    let member = &backend_of(&config, "a.example", "/").expect("a route").members[0];
    assert_eq!(
        (member.endpoints[0].port, member.ready, member.total),
        (30080, 1.0, 1.0)
    );
}

#[test]
fn what_is_missing_is_a_problem_of_its_ingress_alone() {
    let mut wrong_port = ingress("port", "", "port.example", "/", "web");
    wrong_port["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"] = 81.into();
    let mut resource = ingress("resource", "", "resource.example", "/", "web");
    resource["spec"]["rules"][0]["http"]["paths"][0]["backend"] =
        serde_json::json!({"resource": {"kind": "Bucket", "name": "b"}});
    let config = build(&objects(&[
        service("web"),
        ingress("missing", "", "missing.example", "/", "nothing"),
        wrong_port,
        resource,
    ]));
    let problem = |host: &str| backend_of(&config, host, "/").expect("a route").problem.clone();
    assert_eq!(problem("missing.example"), Some(Problem::ServiceNotFound));
    assert_eq!(problem("port.example"), Some(Problem::PortNotFound));
    assert_eq!(problem("resource.example"), Some(Problem::NotAService));
    let told: Vec<_> = config
        .ingresses
        .iter()
        .map(|ingress| (&*ingress.key, ingress.problems[0].0))
        .collect();
    assert_eq!(
        told,
        [
            ("default/missing", "ServiceNotFound"),
            ("default/port", "ServicePortNotFound"),
            ("default/resource", "UnsupportedBackend")
        ]
    );
    assert_eq!(
        config.ingresses[0].problems[0].1,
        "service default/nothing:80 does not exist in the federation"
    );
}

#[test]
fn the_oldest_ingress_keeps_a_path_that_two_claim() {
    let config = build(&objects(&[
        service("old"),
        service("new"),
        ingress("a-new", "2026-02-01T00:00:00Z", "a.example", "/", "new"),
        ingress("z-old", "2026-01-01T00:00:00Z", "a.example", "/", "old"),
    ]));
    assert_eq!(
        &*backend_of(&config, "a.example", "/").expect("a route").service,
        "default/old"
    );
    assert_eq!(config.ingresses[1].problems[0].0, "RouteConflict");
}

fn with_class(name: Option<&str>, classes: &[Object]) -> bool {
    let mut ingress = ingress("web", "", "a.example", "/", "web");
    if let Some(name) = name {
        ingress["spec"]["ingressClassName"] = name.into();
    }
    let mut all = vec![service("web"), ingress];
    all.extend_from_slice(classes);
    !build(&objects(&all)).ingresses.is_empty()
}

#[test]
fn only_ingresses_of_our_class_are_served() {
    let class = |name: &str, controller: &str, default: bool| serde_json::json!({"kind": "IngressClass", "metadata": {"name": name, "annotations": {DEFAULT: default.to_string()}}, "spec": {"controller": controller}});
    const DEFAULT: &str = annotations::DEFAULT_CLASS;
    assert!(with_class(None, &[]));
    assert!(with_class(Some("federation"), &[]));
    assert!(!with_class(Some("nginx"), &[]));
    assert!(with_class(Some("global"), &[class("global", CONTROLLER, false)]));
    assert!(!with_class(
        Some("federation"),
        &[class("federation", "example.com/other", false)]
    ));
    assert!(!with_class(None, &[class("nginx", "k8s.io/nginx", true)]));
    assert!(with_class(None, &[class("nginx", "k8s.io/nginx", false)]));
    assert!(with_class(None, &[class("global", CONTROLLER, true)]));
}

#[test]
fn a_default_backend_serves_what_no_rule_matches() {
    let mut with_default = ingress("web", "", "a.example", "/a", "web");
    with_default["spec"]["defaultBackend"] = serde_json::json!({"service": {"name": "rest", "port": {"name": "http"}}});
    let config = build(&objects(&[service("web"), service("rest"), with_default]));
    for (host, path, expected) in [
        ("a.example", "/a", "default/web"),
        ("a.example", "/b", "default/rest"),
        ("b.example", "/", "default/rest"),
    ] {
        assert_eq!(&*backend_of(&config, host, path).expect("a route").service, expected);
    }
}

#[test]
fn annotations_steer_and_wrong_ones_are_told() {
    let mut annotated = service("web");
    annotated["metadata"]["annotations"] = serde_json::json!({
        annotations::MAX_RPS_PER_ENDPOINT: "12.5",
        annotations::OVERLOAD: "shed",
        annotations::SESSION_AFFINITY: "client-ip",
        annotations::BACKEND_PROTOCOL: "grpc",
        annotations::RESPONSE_TIMEOUT: "soon",
    });
    let mut overriding = ingress("own", "", "own.example", "/", "web");
    overriding["metadata"]["annotations"] =
        serde_json::json!({annotations::SESSION_AFFINITY: "cookie", annotations::SSL_REDIRECT: "true"});
    let config = build(&objects(&[
        annotated,
        ingress("web", "", "a.example", "/", "web"),
        overriding,
    ]));
    let plain = backend_of(&config, "a.example", "/").expect("a route");
    assert_eq!(
        plain.settings,
        Settings {
            protocol: Protocol::H2c,
            affinity: Affinity::ClientIp,
            max_rps_per_endpoint: Some(12.5),
            overload: Overload::Shed,
            ..Settings::default()
        }
    );
    let own = backend_of(&config, "own.example", "/").expect("a route");
    assert_eq!(
        (own.settings.affinity, own.settings.max_rps_per_endpoint),
        (Affinity::Cookie, Some(12.5))
    );
    assert_ne!(own.key, plain.key);
    assert!(config.targets[*config.routes.find("own.example", "/").expect("a route")].ssl_redirect);
    assert_eq!(
        config.ingresses[1].problems,
        [(
            "InvalidAnnotation",
            format!(
                "annotation {} has the invalid value \"soon\"",
                annotations::RESPONSE_TIMEOUT
            )
        )]
    );
}

#[test]
fn kubernetes_own_fields_steer_unless_annotations_do() {
    let settings = |protocol: &str, annotation: Option<&str>| {
        let mut service = service("web");
        service["spec"]["ports"][0]["appProtocol"] = protocol.into();
        service["spec"]["sessionAffinity"] = "ClientIP".into();
        if let Some(value) = annotation {
            service["metadata"]["annotations"][annotations::BACKEND_PROTOCOL] = value.into();
            service["metadata"]["annotations"][annotations::SESSION_AFFINITY] = "none".into();
        }
        let config = build(&objects(&[service, ingress("web", "", "a.example", "/", "web")]));
        let backend = backend_of(&config, "a.example", "/").expect("a route");
        (backend.settings.protocol, backend.settings.affinity)
    };
    for (named, protocol) in [
        ("kubernetes.io/h2c", Protocol::H2c),
        ("grpc", Protocol::H2c),
        ("kubernetes.io/ws", Protocol::Http),
        ("kubernetes.io/wss", Protocol::Https),
        ("HTTPS", Protocol::Https),
        ("mysql", Protocol::Http),
    ] {
        assert_eq!(settings(named, None), (protocol, Affinity::ClientIp), "{named}");
    }
    assert_eq!(
        settings("kubernetes.io/h2c", Some("HTTP")),
        (Protocol::Http, Affinity::None)
    );
}

#[test]
fn clusters_are_placed_by_location_region_zone_or_slice() {
    let mut located = cluster("located", "us-east1");
    located["spec"]["location"] = serde_json::json!({"latitude": 1.0, "longitude": 2.0});
    let zoned = serde_json::json!({"kind": "Cluster", "metadata": {"name": "zoned", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"zones": ["europe-west1-c"],
        "conditions": [{"type": "Offline", "status": "True"}]}});
    let mut scaled = cluster("scaled", "nowhere");
    scaled["metadata"]["annotations"] = serde_json::json!({annotations::TRAFFIC_SCALER: "0.5"});
    let mut unknown = slice("web", "early", &[], 0, 0);
    unknown["metadata"]["labels"]["topology.kubernetes.io/region"] = "asia-northeast1".into();
    let clusters = build(&objects(&[located, zoned, scaled, unknown])).clusters;
    let found: Vec<_> = clusters
        .iter()
        .map(|cluster| {
            (
                &*cluster.name,
                cluster.point,
                cluster.scaler,
                cluster.draining,
                cluster.offline,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("early", Some(Point::new(35.69, 139.69)), 1.0, false, false),
            ("located", Some(Point::new(1.0, 2.0)), 1.0, false, false),
            ("scaled", None, 0.5, false, false),
            ("zoned", Some(Point::new(50.47, 3.82)), 1.0, true, true),
        ]
    );
}

#[test]
fn tls_secrets_become_certificates_and_missing_ones_are_told() {
    let mut secure = ingress("web", "", "a.example", "/", "web");
    secure["spec"]["tls"] =
        serde_json::json!([{"hosts": ["A.example"], "secretName": "cert"}, {"secretName": "missing"}]);
    let secret = serde_json::json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"namespace": "default", "name": "cert"},
        "data": {"tls.crt": "Y2hhaW4=", "tls.key": "a2V5"}});
    let config = build(&objects(&[service("web"), secure, secret]));
    let expected = Certificate {
        secret: "default/cert".to_owned(),
        hosts: vec!["a.example".to_owned()],
        chain: b"chain".to_vec(),
        key: b"key".to_vec(),
    };
    assert_eq!(config.certificates, [expected]);
    assert_eq!(config.ingresses[0].problems[0].0, "SecretNotFound");
}

#[test]
fn durations_are_gos() {
    assert_eq!(annotations::duration("1m30s"), Some(Duration::from_secs(90)));
    assert_eq!(annotations::duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(annotations::duration("1.5h"), Some(Duration::from_secs(5400)));
    for wrong in ["", "10", "s", "-1s", "0s", "1d", "1s2", "1e9h"] {
        assert_eq!(annotations::duration(wrong), None, "{wrong:?}");
    }
}
