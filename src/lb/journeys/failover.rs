//! Endpoints and clusters that die, hang and return.

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{
    Answer, Balancer, Endpoint, PATIENCE, annotate, eventually, full_listener, read_head, scripted, world,
};
use crate::model::annotations::HEALTH_CHECK_PATH;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cluster_costs_no_request_and_gets_its_clients_back() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start("eu").await);
    let balancer = Balancer::start(&world(&[("us", &[us.address]), ("eu", &[eu.address])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    let mut ask = async |request: &str| {
        stream.write_all(request.as_bytes()).await.expect("sent");
        Answer::read(&mut stream).await.expect("an answer")
    };
    let get = "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 2\r\n\r\nhi";
    for request in [get, post] {
        assert_eq!(ask(request).await.endpoint(), "eu");
    }
    let address = eu.kill().await;
    for request in [post, get, post, get] {
        let answer = ask(request).await;
        assert_eq!((answer.status, answer.endpoint().as_str()), (200, "us"));
    }
    let _eu = Endpoint::start_at("eu", address, 200).await;
    let returned = async {
        while ask(get).await.endpoint() != "eu" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, returned).await.expect("clients return");
    let line = balancer.logged(|line| line["retries"] == 1).await;
    assert_eq!((&line["cluster"], &line["status"]), (&"us".into(), &200.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_endpoint_is_left_after_the_connect_timeout_and_avoided_when_probes_confirm_it() {
    let us = Endpoint::start("us").await;
    let (full, _queued) = full_listener();
    let world = world(&[("us", &[us.address]), ("eu", &[full])]);
    let flags = ["--connect-timeout=200ms", "--health-check-timeout=200ms"];
    let balancer = Balancer::start(&world, &flags).await;
    let asking = async {
        loop {
            assert_eq!(balancer.get("127.2.0.1", "/").await.endpoint(), "us");
        }
    };
    let line = tokio::select! {
        () = asking => unreachable!("it goes on"),
        line = balancer.logged(|line| line["retries"] == 0) => line,
    };
    assert_eq!(line["cluster"], "us");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_an_endpoint_that_hangs_move_on_when_its_health_checks_fail() {
    let us = Endpoint::start("us").await;
    let silent = scripted(|mut stream| async move {
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.map(|_| ())
    })
    .await;
    let world = world(&[("us", &[us.address]), ("eu", &[silent])]);
    let balancer = Balancer::start(&world, &["--health-check-timeout=200ms", "--response-timeout=60s"]).await;
    let answer = balancer.get("127.2.0.1", "/").await;
    assert_eq!((answer.status, answer.endpoint().as_str()), (200, "us"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_been_acted_upon_is_not_sent_again() {
    let us = Endpoint::start("us").await;
    let closing = scripted(|mut stream| async move {
        if read_head(&mut stream).await?.contains("kubefed-lb/health") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await?;
        }
        Ok(())
    })
    .await;
    let balancer = Balancer::start(&world(&[("us", &[us.address]), ("eu", &[closing])]), &[]).await;
    let post = "POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 2\r\n\r\nhi";
    let answer = balancer.exchange("127.2.0.1", post).await;
    assert_eq!(
        (answer.status, answer.header("x-lb-error")),
        (502, Some("upstream")),
        "{}",
        answer.body
    );
    assert_eq!(us.requests.load(Relaxed), 0);
    assert_eq!(
        balancer.get("127.2.0.1", "/").await.endpoint(),
        "us",
        "a GET is harmless"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_is_tried_elsewhere_and_passed_on_if_everybody_says_so() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start_at("eu", any(), 503).await);
    let balancer = Balancer::start(
        &world(&[("us", &[us.address]), ("eu", &[eu.address])]),
        &["--health-check-interval=1h"],
    )
    .await;
    assert_eq!(balancer.get("127.2.0.1", "/").await.endpoint(), "us");
    balancer.publish(&world(&[("eu", &[eu.address])]));
    let answer = balancer.get("127.2.0.1", "/").await;
    assert_eq!((answer.status, answer.header("x-lb-cluster")), (503, Some("eu")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_with_errors_is_ejected() {
    let (good, bad) = (
        Endpoint::start("good").await,
        Endpoint::start_at("bad", any(), 500).await,
    );
    let balancer = Balancer::start(&world(&[("eu", &[good.address, bad.address])]), &[]).await;
    let settled = async {
        let mut in_a_row = 0;
        while in_a_row < 30 {
            in_a_row = if balancer.get("127.2.0.1", "/").await.status == 200 {
                in_a_row + 1
            } else {
                0
            };
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("ejection");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_its_health_check_gets_nothing() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start_at("eu", any(), 404).await);
    let mut all = world(&[("us", &[us.address]), ("eu", &[eu.address])]);
    let balancer = Balancer::start(&all, &[]).await;
    assert_eq!(
        balancer.get("127.2.0.1", "/").await.status,
        404,
        "by default a 404 is an answer"
    );
    annotate(&mut all, HEALTH_CHECK_PATH, "/ready");
    balancer.publish(&all);
    let served_by_us = || async { (balancer.get("127.2.0.1", "/").await.status == 200).then_some(()) };
    eventually("the switch to us", served_by_us).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_never_begins_times_out() {
    let slow = scripted(|mut stream| async move {
        if read_head(&mut stream).await?.contains("kubefed-lb/health") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.map(|_| ())
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[slow])]), &["--response-timeout=300ms"]).await;
    let answer = balancer.get("127.2.0.1", "/").await;
    assert_eq!((answer.status, answer.header("x-lb-error")), (504, Some("timeout")));
}
