//! Bodies: large, chunked, streaming, expected.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Answer, Balancer, Endpoint, PATIENCE, read_head, scripted, world};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_in_either_framing_and_connections_are_kept() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &["--health-check-interval=1h"]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    let large = "x".repeat(300_000);
    let head = |method: &str, fields: &str| format!("{method} / HTTP/1.1\r\nHost: web.example\r\n{fields}\r\n");
    let with_length = head("POST", &format!("Content-Length: {}\r\n", large.len())) + &large;
    let in_chunks = format!(
        "{}3\r\nabc\r\n{:x};ext\r\n{large}\r\n0\r\n\r\n",
        head("POST", "Transfer-Encoding: chunked\r\n"),
        large.len()
    );
    for (request, length) in [
        (head("POST", "Content-Length: 0\r\n"), 0),
        (with_length, large.len()),
        (in_chunks, large.len() + 3),
        (head("GET", ""), 0),
    ] {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let answer = Answer::read(&mut stream).await.expect("an answer");
        assert_eq!(
            (answer.status, answer.echo()["length"].as_u64()),
            (200, Some(length as u64))
        );
    }
    let opened = eu.connections.load(Relaxed);
    assert!(
        opened <= 2,
        "one connection for four requests, one for the first probe: {opened}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_pass_in_any_framing() {
    let bodies = scripted(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await?;
            let answer: &[u8] = match head.split(' ').nth(1).unwrap_or_default() {
                "/length" if head.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
                "/hints" => {
                    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                }
                "/none" => b"HTTP/1.1 204 No Content\r\n\r\n",
                "/close" => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await?;
                    return Ok(());
                }
                _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            };
            stream.write_all(answer).await?;
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[bodies])]), &[]).await;
    for path in ["/length", "/chunks", "/hints", "/close", "/length"] {
        let answer = balancer.get("127.2.0.1", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{path}");
    }
    assert_eq!(balancer.get("127.2.0.1", "/none").await.status, 204);
    let mut stream = balancer.connect_from("127.2.0.1").await;
    let both = "HEAD /length HTTP/1.1\r\nHost: web.example\r\n\r\nGET /length HTTP/1.1\r\nHost: web.example\r\n\r\n";
    stream.write_all(both.as_bytes()).await.expect("sent");
    let head = read_head(&mut stream).await.expect("a head").to_ascii_lowercase();
    assert!(head.contains("content-length: 5"), "{head}");
    assert_eq!(
        Answer::read(&mut stream).await.expect("an answer").body,
        "hello",
        "pipelined after a HEAD"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_while_the_response_goes_on() {
    let (release, released) = tokio::sync::watch::channel(false);
    let events = scripted(move |mut stream| {
        let mut released = released.clone();
        async move {
            read_head(&mut stream).await?;
            let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            stream.write_all(begin.as_bytes()).await?;
            let _ = released.wait_for(|released| *released).await;
            stream.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n").await
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[events])]), &["--health-check-interval=1h"]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .expect("sent");
    let head = read_head(&mut stream).await.expect("a head");
    assert!(head.contains("text/event-stream"), "{head}");
    let mut first = [0; 14];
    let reading = tokio::time::timeout(PATIENCE, stream.read_exact(&mut first));
    reading.await.expect("the first event before the second").expect("read");
    assert_eq!(&first, b"9\r\ndata: 1\n\n\r\n");
    release.send(true).expect("the endpoint waits");
    let mut rest = [0; 19];
    stream.read_exact(&mut rest).await.expect("the second event");
    assert_eq!(&rest, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_is_told_to_go_on_unless_it_is_refused() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let ask =
        |host: &str| format!("PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(ask("web.example").as_bytes()).await.expect("sent");
    assert!(
        read_head(&mut stream)
            .await
            .expect("a head")
            .starts_with("HTTP/1.1 100")
    );
    stream.write_all(b"hello").await.expect("sent");
    let echo = Answer::read(&mut stream).await.expect("an answer").echo();
    assert_eq!(echo["body"], "hello");
    assert!(echo["headers"].get("expect").is_none());
    assert_eq!(
        balancer.exchange("127.2.0.1", &ask("other.example")).await.status,
        404,
        "without asking for the body"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_breaks_off_for_the_client_too() {
    let broken = scripted(|mut stream| async move {
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
            .await
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[broken])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .expect("sent");
    Answer::read(&mut stream).await.expect_err("half an answer");
    let line = balancer.logged(|line| line["method"] == "GET").await;
    assert!(
        line["error"].as_str().is_some_and(|error| error.contains("broke off")),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let refusing = scripted(|mut stream| async move {
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await?;
        // Kept open, so that what is still being sent does not reset the connection.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[refusing])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 1000000\r\n\r\nbegin")
        .await
        .expect("sent");
    assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 413);
}
