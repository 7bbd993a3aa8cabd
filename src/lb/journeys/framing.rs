//! Old clients, answers without a body, trailers: what a response looks like on the wire.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Balancer, Endpoint, PATIENCE, read_head, scripted, world};

/// A whole conversation: what is sent, and everything that comes back until the load balancer closes.
async fn conversation(balancer: &Balancer, sent: &str) -> String {
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(sent.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed")
        .expect("in order");
    String::from_utf8_lossy(&answer).into_owned()
}

/// An endpoint that answers by path, each answer as it stands here.
async fn answers() -> std::net::SocketAddr {
    scripted(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await?;
            let mut line = head.split(' ');
            let is_head = line.next() == Some("HEAD");
            let answer: &[u8] = match (line.next().unwrap_or_default(), is_head) {
                ("/chunks", true) => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                ("/chunks", false) => {
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
                }
                ("/length", true) => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                ("/none", _) => b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
                ("/same", _) => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
                ("/old", _) => b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            stream.write_all(answer).await?;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_clients_get_no_chunks_and_the_end_of_the_connection() {
    let balancer = Balancer::start(&world(&[("eu", &[answers().await])]), &[]).await;
    for path in ["/chunks", "/length"] {
        let answer = conversation(&balancer, &format!("GET {path} HTTP/1.0\r\nHost: web.example\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert_eq!(body, "hello", "{path}");
    }
    let kept = "GET /length HTTP/1.0\r\nHost: web.example\r\nConnection: keep-alive\r\n\r\n";
    let last = "GET /length HTTP/1.0\r\nHost: web.example\r\n\r\n";
    let both = conversation(&balancer, &format!("{kept}{last}")).await;
    assert_eq!(both.matches("hello").count(), 2, "kept when asked for: {both}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_are_framed_so_that_the_next_one_is_found() {
    let balancer = Balancer::start(&world(&[("eu", &[answers().await])]), &[]).await;
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: web.example\r\n\r\n");
    let last = "GET /length HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";
    for (method, path, present, absent) in [
        ("HEAD", "/length", "content-length: 5", "transfer-encoding"),
        // A length of 0 would be that of a GET, and wrong.
        ("HEAD", "/chunks", "200 ok", "content-length"),
        ("GET", "/none", "x-a: 1", "content-length"),
        ("GET", "/same", "etag: \"x\"", "transfer-encoding"),
        ("GET", "/old", "content-length: 5", "keep-alive"),
    ] {
        let answer = conversation(&balancer, &(ask(method, path) + last))
            .await
            .to_ascii_lowercase();
        let (first, rest) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            first.contains(present) && !first.contains(absent),
            "{method} {path}: {first}"
        );
        let body = if path == "/old" { "hello" } else { "" };
        assert!(
            rest.starts_with(&format!("{body}http/1.1 200 ok\r\n")),
            "{method} {path}: {rest}"
        );
        assert!(rest.ends_with("\r\n\r\nhello"), "{method} {path}: {rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_requests_do_not_disturb_what_follows() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let first = "POST /1 HTTP/1.1\r\nHost: web.example\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\n\r\n";
    let second = "GET /2 HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";
    let answer = conversation(&balancer, &format!("{first}{second}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(
        answer.contains("\"body\":\"hello\"") && answer.contains("\"uri\":\"/2\""),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_line_feeds_reach_endpoints_as_whole_line_ends_or_not_at_all() {
    let seen = scripted(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await?;
            let bare = head.replace("\r\n", "").contains('\n');
            let body = format!("{bare} {}", head.matches("smuggled").count());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[seen])]), &["--health-check-interval=1h"]).await;
    for request in [
        "GET / HTTP/1.1\nHost: web.example\nConnection: close\n\n",
        "GET / HTTP/1.1\r\nHost: web.example\nConnection: close\r\n\n",
        "GET / HTTP/1.1\r\nHost: web.example\r\nX: a\nConnection: close\r\n\r\n",
    ] {
        let answer = conversation(&balancer, request).await;
        let refused = answer.starts_with("HTTP/1.1 400");
        assert!(refused || answer.ends_with("\r\n\r\nfalse 0"), "{request:?}: {answer}");
    }
    for body in [
        "5\nhello\n0\n\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = conversation(&balancer, &format!("{head}{body}GET /smuggled HTTP/1.1\r\n\r\n")).await;
        assert!(!answer.contains("200 OK"), "{body:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_its_endpoint_from_sending() {
    let (tell, mut told) = tokio::sync::watch::channel(0usize);
    let source = scripted(move |mut stream| {
        let tell = tell.clone();
        async move {
            if read_head(&mut stream).await?.contains("kubefed-lb/health") {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
                .await?;
            let block = vec![b'x'; 64 * 1024];
            loop {
                stream.write_all(&block).await?;
                tell.send_modify(|sent| *sent += block.len());
            }
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[source])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
        .await
        .expect("sent");
    let settled = async {
        // Until nothing more goes for a while.
        while tokio::time::timeout(Duration::from_millis(500), told.changed())
            .await
            .is_ok()
        {}
        *told.borrow()
    };
    let sent = tokio::time::timeout(PATIENCE, settled).await.expect("it stops");
    // The kernel's four buffers may hold some megabytes each; we none.
    assert!((64 * 1024..64_000_000).contains(&sent), "{sent} bytes");
    let mut some = vec![0; 30_000_000];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut some))
        .await
        .expect("it goes on")
        .expect("read");
}
