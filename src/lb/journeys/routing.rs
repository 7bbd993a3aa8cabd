//! Who is served where, and what endpoints and clients are told.

use serde_json::json;

use tokio::io::AsyncWriteExt as _;

use super::support::{Answer, Balancer, Endpoint, PATIENCE, annotate, world};
use crate::model::annotations;

#[tokio::test(flavor = "multi_thread")]
async fn each_client_is_served_by_its_nearest_cluster() {
    let (us, eu, tok) = (
        Endpoint::start("us").await,
        Endpoint::start("eu").await,
        Endpoint::start("tok").await,
    );
    let balancer = Balancer::start(
        &world(&[("us", &[us.address]), ("eu", &[eu.address]), ("tok", &[tok.address])]),
        &[],
    )
    .await;
    for (source, cluster) in [
        ("127.1.0.1", "us"),
        ("127.2.0.1", "eu"),
        ("127.3.0.1", "tok"),
        ("127.4.0.1", "tok"),
        ("127.5.0.1", "us"),
    ] {
        let answer = balancer.get(source, "/a/b?c=d").await;
        assert_eq!(
            (answer.status, answer.endpoint().as_str(), answer.header("x-lb-cluster")),
            (200, cluster, Some(cluster)),
            "{source}"
        );
    }
    let line = balancer.logged(|line| line["client"] == "127.2.0.1").await;
    for (field, value) in [
        ("location", json!("map")),
        ("country", json!("BE")),
        ("method", json!("GET")),
        ("path", json!("/a/b?c=d")),
        ("host", json!("web.example")),
        ("route", json!("default/web")),
        ("cluster", json!("eu")),
        ("endpoint", json!(eu.address.to_string())),
        ("status", json!(200)),
        ("retries", json!(0)),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_learn_who_asks_and_cannot_be_lied_to() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let request = "GET /x%20y?a=%2F HTTP/1.1\r\nHost: WEB.example:80\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Client-Geo-Country: XX\r\n\
                   X-Request-Id: mine\r\nConnection: X-Secret\r\nX-Secret: 1\r\nAccept: */*\r\n\r\n";
    let echo = balancer.exchange("127.2.0.1", request).await.echo();
    assert_eq!(
        (echo["uri"].as_str(), echo["version"].as_str()),
        (Some("/x%20y?a=%2F"), Some("HTTP/1.1"))
    );
    let headers = &echo["headers"];
    for (name, value) in [
        ("host", "WEB.example:80"),
        ("x-forwarded-for", "127.2.0.1"),
        ("x-real-ip", "127.2.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "WEB.example:80"),
        ("x-client-geo-country", "BE"),
        ("x-client-geo-location", "50.4700,3.8200"),
        ("x-client-geo-source", "map"),
        ("accept", "*/*"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers.get("x-secret").is_none() && headers.get("connection").is_none());
    let id = headers["x-request-id"].as_str().expect("an id");
    assert!(id.len() == 32 && id != "mine");
    assert_eq!(headers["traceparent"].as_str().map(str::len), Some(55));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_speaks_for_its_clients() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start("eu").await);
    let flags = ["--trusted-proxies=127.1.0.0/16", "--geo-header=X-Geo"];
    let balancer = Balancer::start(&world(&[("us", &[us.address]), ("eu", &[eu.address])]), &flags).await;
    let ask = |fields: &str| format!("GET / HTTP/1.1\r\nHost: web.example\r\n{fields}\r\n\r\n");
    let european = balancer
        .exchange(
            "127.1.0.1",
            &ask("X-Forwarded-For: 9.9.9.9, 127.2.0.7\r\nX-Request-Id: theirs"),
        )
        .await;
    let echo = european.echo();
    assert_eq!(
        (echo["endpoint"].as_str(), echo["headers"]["x-real-ip"].as_str()),
        (Some("eu"), Some("127.2.0.7"))
    );
    assert_eq!(echo["headers"]["x-forwarded-for"], "9.9.9.9, 127.2.0.7, 127.1.0.1");
    assert_eq!(echo["headers"]["x-request-id"], "theirs");
    assert_eq!(
        balancer
            .exchange("127.1.0.1", &ask("X-Forwarded-For: 192.0.2.1\r\nX-Geo: FR"))
            .await
            .endpoint(),
        "eu"
    );
    assert_eq!(
        balancer
            .exchange("127.2.0.1", &ask("X-Forwarded-For: 127.1.0.7\r\nX-Geo: US"))
            .await
            .endpoint(),
        "eu",
        "an untrusted peer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_tells_the_client_behind_a_trusted_peer() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start("eu").await);
    let balancer = Balancer::start(
        &world(&[("us", &[us.address]), ("eu", &[eu.address])]),
        &["--proxy-protocol-from=127.1.0.0/16"],
    )
    .await;
    let get = "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
    let answer = balancer
        .exchange("127.1.0.1", &format!("PROXY TCP4 127.2.0.9 127.0.0.1 4711 80\r\n{get}"))
        .await;
    assert_eq!(answer.echo()["headers"]["x-forwarded-for"], "127.2.0.9");
    assert_eq!(answer.endpoint(), "eu");
    let second = |command: char| {
        // The signature, the command, TCP over IPv4, 12 bytes of addresses: 127.2.0.8:4711 to 127.0.0.1:80.
        let addresses = "\u{7f}\u{2}\0\u{8}\u{7f}\0\0\u{1}\u{12}\u{67}\0\u{50}";
        format!("\r\n\r\n\0\r\nQUIT\n{command}\u{11}\0\u{c}{addresses}{get}")
    };
    let proxied = balancer.exchange("127.1.0.1", &second('\u{21}')).await;
    assert_eq!(proxied.echo()["headers"]["x-forwarded-for"], "127.2.0.8");
    let own = balancer.exchange("127.1.0.1", &second('\u{20}')).await;
    assert_eq!(
        own.echo()["headers"]["x-forwarded-for"],
        "127.1.0.1",
        "a health check of the proxy's own"
    );
    let refused = balancer
        .exchange("127.2.0.1", &format!("PROXY TCP4 127.1.0.9 127.0.0.1 4711 80\r\n{get}"))
        .await;
    assert_eq!(refused.status, 400, "others may not");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_explained() {
    let eu = Endpoint::start("eu").await;
    let mut all = world(&[("eu", &[eu.address])]);
    for (name, service) in [("missing", "nothing"), ("empty", "empty")] {
        all.push(json!({"kind": "Ingress", "metadata": {"namespace": "default", "name": name},
            "spec": {"rules": [{"host": format!("{name}.example"), "http": {"paths": [{"path": "/a", "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}}));
    }
    all.push(json!({"kind": "Service", "metadata": {"namespace": "default", "name": "empty"}, "spec": {"ports": [{"port": 80}]}}));
    let balancer = Balancer::start(&all, &[]).await;
    let ask = |host: &str, accept: &str| format!("GET /a HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n");
    for (host, status, reason, message) in [
        (
            "other.example",
            404,
            "no-route",
            "no Ingress rule matches host \"other.example\" and path \"/a\"",
        ),
        (
            "missing.example",
            503,
            "no-backend",
            "service default/nothing:80 does not exist in the federation",
        ),
        (
            "empty.example",
            503,
            "no-backend",
            "service default/empty:80 has no endpoints in any cluster",
        ),
    ] {
        let answer = balancer.exchange("127.2.0.1", &ask(host, "*/*")).await;
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.header("x-lb-error")),
            (status, format!("{message}\n").as_str(), Some(reason))
        );
        let answer = balancer.exchange("127.2.0.1", &ask(host, "application/json")).await;
        assert_eq!(
            answer.echo(),
            json!({"error": message, "reason": reason, "status": status})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_at_its_capacity_sheds_when_asked_to() {
    let eu = Endpoint::start("eu").await;
    let mut all = world(&[("eu", &[eu.address])]);
    annotate(&mut all, annotations::MAX_RPS_PER_ENDPOINT, "0.001");
    annotate(&mut all, annotations::OVERLOAD, "shed");
    let balancer = Balancer::start(&all, &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    // Demand is measured once a second; from then on nearly everything is too much.
    let asking = async {
        loop {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
                .await
                .expect("sent");
            let answer = Answer::read(&mut stream).await.expect("an answer");
            if answer.status == 503 {
                return answer;
            }
        }
    };
    let shed = tokio::time::timeout(PATIENCE, asking).await.expect("shedding");
    assert_eq!(
        (shed.header("retry-after"), shed.header("x-lb-error")),
        (Some("1"), Some("shed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_stay_with_their_endpoint_by_cookie_or_address() {
    let endpoints = [
        Endpoint::start("a").await,
        Endpoint::start("b").await,
        Endpoint::start("c").await,
    ];
    let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
    let mut all = world(&[("eu", &addresses)]);
    annotate(&mut all, annotations::SESSION_AFFINITY, "cookie");
    let balancer = Balancer::start(&all, &[]).await;
    let first = balancer.get("127.2.0.1", "/").await;
    let cookie = first
        .header("set-cookie")
        .expect("a cookie")
        .split(';')
        .next()
        .expect("a value")
        .to_owned();
    assert!(!cookie.contains("127."), "no address leaks: {cookie}");
    for _ in 0..12 {
        let again = balancer
            .exchange(
                "127.1.0.1",
                &format!("GET / HTTP/1.1\r\nHost: web.example\r\nCookie: a=b; {cookie}\r\n\r\n"),
            )
            .await;
        assert_eq!((again.endpoint(), again.header("set-cookie")), (first.endpoint(), None));
    }
    let forged = balancer
        .exchange(
            "127.1.0.1",
            "GET / HTTP/1.1\r\nHost: web.example\r\nCookie: kubefed-lb=eu.00\r\n\r\n",
        )
        .await;
    assert!(forged.header("set-cookie").is_some());

    annotate(&mut all, annotations::SESSION_AFFINITY, "client-ip");
    balancer.publish(&all);
    let first = balancer.get("127.2.0.1", "/").await.endpoint();
    for _ in 0..12 {
        assert_eq!(balancer.get("127.2.0.1", "/").await.endpoint(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_redirected_when_the_ingress_says_so() {
    let eu = Endpoint::start("eu").await;
    let mut all = world(&[("eu", &[eu.address])]);
    let ingress = all.last_mut().expect("the Ingress");
    ingress["metadata"]["annotations"] = json!({annotations::SSL_REDIRECT: "true"});
    let balancer = Balancer::start(&all, &[]).await;
    let answer = balancer.get("127.2.0.1", "/a?b").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some("https://web.example/a?b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    balancer.get("127.2.0.1", "/").await;
    let ask = |path: &'static str| {
        let metrics = balancer.running.metrics;
        async move {
            let mut stream = tokio::net::TcpStream::connect(metrics).await.expect("a connection");
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            Answer::read(&mut stream).await.expect("an answer")
        }
    };
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    let metrics = ask("/metrics").await.body;
    assert!(
        metrics.contains("federation_lb_responses_total{backend=\"default/web:80\",cluster=\"eu\",code=\"2xx\"} 1"),
        "{metrics}"
    );
}
