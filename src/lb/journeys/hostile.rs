//! Requests that two parsers could understand in two ways, and clients that hold connections for nothing.

use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Balancer, Endpoint, PATIENCE, world};

/// What the connection says until the load balancer closes it.
async fn talk(balancer: &Balancer, bytes: &[u8]) -> String {
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer is a close, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused_and_reach_no_endpoint() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let head = "POST / HTTP/1.1\r\nHost: web.example\r\n";
    let with = |fields: &str| format!("{head}{fields}\r\n\r\nhello").into_bytes();
    let chunked = |body: &str| format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    let raw = |text: &str| text.as_bytes().to_vec();
    let corpus: Vec<(&str, Vec<u8>)> = vec![
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 6")),
        ("a signed length", with("Content-Length: +5")),
        ("a hexadecimal length", with("Content-Length: 0x10")),
        ("a length with an underscore", with("Content-Length: 1_0")),
        ("a list of lengths", with("Content-Length: 5, 6")),
        ("a space before the colon", with("Content-Length : 5")),
        ("an unknown coding", with("Transfer-Encoding: xchunked")),
        (
            "chunked is not the last coding",
            with("Transfer-Encoding: chunked, identity"),
        ),
        (
            "a coding in HTTP/1.0",
            raw("POST / HTTP/1.0\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("an underscore in a chunk size", chunked("0_2e\r\n")),
        ("a prefix before a chunk size", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        ("an endless chunk size", chunked("FFFFFFFFFFFFFFFFF\r\nhello\r\n")),
        (
            "a NUL in a value",
            raw("GET / HTTP/1.1\r\nHost: web.example\r\nX: a\0b\r\n\r\n"),
        ),
        ("a leading space", raw("GET / HTTP/1.1\r\n Host: web.example\r\n\r\n")),
        (
            "a folded line",
            raw("GET / HTTP/1.1\r\nHost: web.example\r\nX: a\r\n b\r\n\r\n"),
        ),
        ("no host", raw("GET / HTTP/1.1\r\n\r\n")),
        (
            "two hosts",
            raw("GET / HTTP/1.1\r\nHost: web.example\r\nHost: web.example\r\n\r\n"),
        ),
        (
            "a space in the target",
            raw("GET /a b HTTP/1.1\r\nHost: web.example\r\n\r\n"),
        ),
        (
            "a path that leaves the root",
            raw("GET /a/../../b HTTP/1.1\r\nHost: web.example\r\n\r\n"),
        ),
        (
            "an encoded path that leaves the root",
            raw("GET /%2e%2e/b HTTP/1.1\r\nHost: web.example\r\n\r\n"),
        ),
        ("an encoded NUL", raw("GET /a%00 HTTP/1.1\r\nHost: web.example\r\n\r\n")),
        (
            "a bare CR",
            raw("GET / HTTP/1.1\r\nHost: web.example\r\nX: a\rb\r\n\r\n"),
        ),
    ];
    for (what, bytes) in corpus {
        let answer = talk(&balancer, &bytes).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{what}: {answer:?}"
        );
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            1,
            "{what}: nothing is read after the refusal: {answer}"
        );
    }
    assert_eq!(eu.requests.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunks_is_never_forwarded() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let bytes = b"POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: web.example\r\n\r\n";
    let answer = talk(&balancer, bytes).await;
    assert!(!answer.contains("smuggled"), "{answer}");
    let normalised = answer.contains("\"length\":5") && !answer.contains("\"content-length\":\"4\"");
    assert!(answer.starts_with("HTTP/1.1 400") || normalised, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: web.example\r\n\r\n", "a".repeat(9000));
    assert!(
        talk(&balancer, long_target.as_bytes())
            .await
            .starts_with("HTTP/1.1 414")
    );
    let fields: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many_fields = format!("GET / HTTP/1.1\r\nHost: web.example\r\n{fields}\r\n");
    assert!(
        talk(&balancer, many_fields.as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
    let long_field = format!(
        "GET / HTTP/1.1\r\nHost: web.example\r\nX: {}\r\n\r\n",
        "a".repeat(70_000)
    );
    let answer = talk(&balancer, long_field.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_idle_connections_are_ended() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(
        &world(&[("eu", &[eu.address])]),
        &["--header-timeout=1s", "--idle-timeout=2s"],
    )
    .await;
    assert_eq!(
        talk(&balancer, b"GET / HTTP/1.1\r\nHost: web.exam").await,
        "",
        "half a head"
    );
    assert_eq!(talk(&balancer, b"").await, "", "not a byte");
    let kept = talk(&balancer, b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").await;
    assert!(
        kept.starts_with("HTTP/1.1 200"),
        "an idle connection is closed after its answer: {kept}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_client_that_answers_nothing_is_cut_off() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &["--idle-timeout=1s"]).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // And half a frame of headers, which never goes on.
    let begun = [0, 0, 50, 1, 4, 0, 0, 0, 1, 0x82];
    let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &begun].concat();
    talk(&balancer, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_make_no_sense_here_are_refused() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    for request in [
        "CONNECT web.example:443 HTTP/1.1\r\nHost: web.example:443\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: web.example\r\n\r\n",
    ] {
        assert_eq!(balancer.exchange("127.2.0.1", request).await.status, 405);
    }
}
