//! Starting, changing, stopping.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Answer, Balancer, Endpoint, PATIENCE, eventually, objects, read_head, scripted, world};
use crate::watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_served_at_once_on_open_connections() {
    let (us, eu) = (Endpoint::start("us").await, Endpoint::start("eu").await);
    let balancer = Balancer::start(&world(&[("us", &[us.address])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    let mut ask = async || {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
            .await
            .expect("sent");
        Answer::read(&mut stream).await.expect("an answer")
    };
    assert_eq!(ask().await.endpoint(), "us");
    balancer.publish(&world(&[("us", &[us.address]), ("eu", &[eu.address])]));
    assert_eq!(ask().await.endpoint(), "eu");
    balancer.publish(&[]);
    assert_eq!(ask().await.status, 404);
}

async fn in_flight(balancer: &Balancer) {
    let shared = Arc::clone(&balancer.running.shared);
    eventually("the request in flight", || {
        let active = shared.metrics.requests_active.get();
        async move { (active == 1).then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_requests_and_closes_idle_connections() {
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = scripted(move |mut stream| {
        let mut released = released.clone();
        async move {
            if !read_head(&mut stream).await?.contains("kubefed-lb/health") {
                let _ = released.wait_for(|released| *released).await;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                .await
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[slow])]), &[]).await;
    let mut idle = balancer.connect_from("127.2.0.1").await;
    let mut busy = balancer.connect_from("127.2.0.1").await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .expect("sent");
    in_flight(&balancer).await;
    let http = balancer.http;
    let stopping = tokio::spawn(balancer.running.stop());
    let mut sink = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut sink)).await;
    closed.expect("the idle connection is closed").expect("closed in order");
    // Each worker closes its listener itself, one may be a little later than another closes idle connections.
    eventually("no new connections", || async move {
        tokio::net::TcpStream::connect(http).await.is_err().then_some(())
    })
    .await;
    release.send(true).expect("the endpoint waits");
    let answer = Answer::read(&mut busy).await.expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.header("connection")),
        (200, "done", Some("close"))
    );
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .expect("it stops")
        .expect("without a panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_ever() {
    let endless = scripted(|mut stream| async move {
        if read_head(&mut stream).await?.contains("kubefed-lb/health") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.map(|_| ())
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[endless])]), &["--drain-timeout=300ms"]).await;
    let mut busy = balancer.connect_from("127.2.0.1").await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .expect("sent");
    in_flight(&balancer).await;
    tokio::time::timeout(Duration::from_secs(10), balancer.running.stop())
        .await
        .expect("it stops");
}

#[test]
fn the_saved_configuration_survives_a_restart_and_damage_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(watch::load(dir.path()).expect("nothing saved").is_none());
    let known = objects(&world(&[("eu", &["127.0.0.1:80".parse().expect("an address")])]));
    watch::save(dir.path(), &known).expect("saved");
    assert_eq!(watch::load(dir.path()).expect("readable"), Some(known));
    std::fs::write(dir.path().join("config.json"), b"{").expect("damaged");
    assert!(matches!(
        watch::load(dir.path()),
        Err(watch::SavedError::Damaged { .. })
    ));
}
