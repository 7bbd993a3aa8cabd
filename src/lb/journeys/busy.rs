//! Endpoints that are slow, full or on their way out, but alive: nobody who waits for them is turned away.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

use super::support::{Answer, Balancer, Endpoint, eventually, full_listener, read_head, scripted, world};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 2\r\n\r\nhi";

fn listen(backlog: u32) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free address");
    socket.listen(backlog).expect("a listener")
}

/// An endpoint that serves one connection after the other, probes included, and lets few wait.
fn one_at_a_time(each: Duration) -> SocketAddr {
    let listener = listen(4);
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answered = async {
                read_head(&mut stream).await?;
                tokio::time::sleep(each).await;
                stream.write_all(OK).await?;
                stream.shutdown().await?;
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await
            };
            // A client that left is no reason to stop.
            let _ = answered.await;
        }
    });
    address
}

/// Statuses of the answers to requests sent at once, each on a connection of its own.
async fn at_once(balancer: Balancer, requests: &[&'static str]) -> (Arc<Balancer>, Vec<u16>) {
    let balancer = Arc::new(balancer);
    let mut asking = JoinSet::new();
    for request in requests.iter().copied() {
        let balancer = Arc::clone(&balancer);
        asking.spawn(async move { balancer.exchange("127.2.0.1", request).await.status });
    }
    let statuses = asking.join_all().await;
    (balancer, statuses)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_in_front_of_a_slow_endpoint_with_a_short_queue_is_served_to_the_last() {
    let slow = one_at_a_time(Duration::from_millis(10));
    let flags = ["--health-check-timeout=200ms", "--connect-timeout=300ms"];
    let balancer = Balancer::start(&world(&[("eu", &[slow])]), &flags).await;
    let requests: Vec<&str> = [GET, POST].into_iter().cycle().take(120).collect();
    let (_, statuses) = at_once(balancer, &requests).await;
    let refused: Vec<&u16> = statuses.iter().filter(|status| **status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_in_front_of_a_full_queue_moves_on_to_the_next_cluster() {
    let us = Endpoint::start("us").await;
    let (full, _queued) = full_listener();
    let world = world(&[("us", &[us.address]), ("eu", &[full])]);
    let balancer = Balancer::start(&world, &["--connect-timeout=200ms", "--health-check-interval=1h"]).await;
    let (_, statuses) = at_once(balancer, &[POST; 100]).await;
    assert_eq!(statuses, [200; 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_waited_for_although_probes_get_none() {
    let slow = one_at_a_time(Duration::from_secs(2));
    let balancer = Balancer::start(&world(&[("eu", &[slow])]), &["--health-check-timeout=200ms"]).await;
    let (balancer, statuses) = at_once(balancer, &[GET, POST]).await;
    assert_eq!(statuses, [200; 2]);
    balancer.logged(|line| line["retries"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_acted_upon_waits_for_an_endpoint_that_probes_call_dead() {
    let us = Endpoint::start("us").await;
    let slow = scripted(|mut stream| async move {
        if read_head(&mut stream).await?.contains("kubefed-lb/health") {
            let mut sink = Vec::new();
            return stream.read_to_end(&mut sink).await.map(|_| ());
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        stream.write_all(OK).await
    })
    .await;
    let world = world(&[("us", &[us.address]), ("eu", &[slow])]);
    let balancer = Balancer::start(&world, &["--health-check-timeout=200ms"]).await;
    let answer = balancer.exchange("127.2.0.1", POST).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(
        balancer.get("127.2.0.1", "/").await.endpoint(),
        "us",
        "new requests are spared it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_connections_finishes_what_it_has_begun() {
    let us = Endpoint::start("us").await;
    let listener = listen(64);
    let address = listener.local_addr().expect("an address");
    let (release, released) = tokio::sync::watch::channel(false);
    let arrived = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&arrived);
    tokio::spawn(async move {
        let mut open = JoinSet::new();
        while !seen.load(Relaxed) {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let (mut released, seen) = (released.clone(), Arc::clone(&seen));
            if read_head(&mut stream)
                .await
                .is_ok_and(|head| head.contains("kubefed-lb/health"))
            {
                let _ = stream.write_all(OK).await;
                continue;
            }
            seen.store(true, Relaxed);
            open.spawn(async move {
                let _ = released.wait_for(|released| *released).await;
                stream.write_all(OK).await
            });
        }
        // As a pod that is told to stop.
        drop(listener);
        open.join_all().await;
    });
    let world = world(&[("us", &[us.address]), ("eu", &[address])]);
    let balancer = Balancer::start(&world, &["--health-check-timeout=200ms"]).await;
    let mut first = balancer.connect_from("127.2.0.1").await;
    first.write_all(GET.as_bytes()).await.expect("sent");
    eventually("the first request", || async { arrived.load(Relaxed).then_some(()) }).await;
    for _ in 0..20 {
        assert_eq!(balancer.exchange("127.2.0.1", POST).await.endpoint(), "us");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    release.send(true).expect("the endpoint waits");
    let answer = Answer::read(&mut first).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
}
