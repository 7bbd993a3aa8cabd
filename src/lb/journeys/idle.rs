//! Connections that are kept without a request: they are parked, and served again when one comes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Answer, Balancer, Endpoint, PATIENCE, world};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
/// Longer than a connection is idle before it is parked, and than the sweep needs to see it.
const LONG_ENOUGH: Duration = Duration::from_millis(2300);

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_connection_is_served_again_however_its_next_request_arrives() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(GET).await.expect("sent");
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 200);
    tokio::time::sleep(LONG_ENOUGH).await;
    // In two pieces, with a pause in between.
    stream.write_all(&GET[..9]).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stream.write_all(&GET[9..]).await.expect("sent");
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 200);
    tokio::time::sleep(LONG_ENOUGH).await;
    // With a body that is larger than what is read at first, and another request behind it.
    let body = "x".repeat(100_000);
    let post = format!("POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 100000\r\n\r\n{body}");
    stream.write_all(&[post.as_bytes(), GET].concat()).await.expect("sent");
    let echo = Answer::read(&mut stream).await.expect("an answer").echo();
    assert_eq!(echo["length"], 100_000);
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_connection_is_closed_when_its_time_is_over() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &["--idle-timeout=4s"]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(GET).await.expect("sent");
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("it is closed")
        .expect("in order");
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_body_that_nobody_read_is_never_taken_for_a_request() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    let refused = b"POST / HTTP/1.1\r\nHost: other.example\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(refused).await.expect("sent");
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 404);
    tokio::time::sleep(LONG_ENOUGH).await;
    // The connection may be closed already.
    let _ = stream.write_all(GET).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await;
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "{rest:?}");
}
