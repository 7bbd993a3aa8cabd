//! Switching protocols.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::support::{Answer, Balancer, PATIENCE, read_head, scripted, world};

const ASK: &[u8] = b"GET /chat HTTP/1.1\r\nHost: web.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_101_opens_a_tunnel_in_both_directions() {
    let chat = scripted(|mut stream| async move {
        let head = read_head(&mut stream).await?.to_ascii_lowercase();
        let wanted = [
            "connection: upgrade\r\n",
            "upgrade: websocket\r\n",
            "sec-websocket-key: k\r\n",
        ];
        if !wanted.iter().all(|line| head.contains(line)) {
            return stream.write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").await;
        }
        // The first bytes come along with the head.
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await?;
        let mut said = [0; 4];
        stream.read_exact(&mut said).await?;
        stream.write_all(&said).await
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[chat])]), &["--health-check-interval=1h"]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(ASK).await.expect("sent");
    let head = read_head(&mut stream).await.expect("a head").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(
        head.contains("upgrade: websocket") && head.contains("x-lb-cluster: eu"),
        "{head}"
    );
    stream.write_all(b"ping").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut said = Vec::new();
    stream
        .read_to_end(&mut said)
        .await
        .expect("the tunnel closes with both sides");
    assert_eq!(said, b"helloping");
    let line = balancer.logged(|line| line["path"] == "/chat").await;
    assert_eq!((&line["status"], &line["sent"]), (&101.into(), &9.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_101_there_is_no_tunnel() {
    let plain = scripted(|mut stream| async move {
        loop {
            read_head(&mut stream).await?;
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno",
                )
                .await?;
        }
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[plain])]), &[]).await;
    let mut stream = balancer.connect_from("127.2.0.1").await;
    stream.write_all(ASK).await.expect("sent");
    let answer = Answer::read(&mut stream).await.expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.header("upgrade")),
        (200, "no", None)
    );
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(
        Answer::read(&mut stream).await.expect("an answer").status,
        404,
        "the next bytes are a request to us"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_nobody_asked_for_is_an_error() {
    let eager = scripted(|mut stream| async move {
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await?;
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.map(|_| ())
    })
    .await;
    let balancer = Balancer::start(&world(&[("eu", &[eager])]), &[]).await;
    assert_eq!(balancer.get("127.2.0.1", "/").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_talks_both_ways_outlives_every_timeout_and_closes_in_order() {
    let chat = scripted(|stream| async move {
        let mut socket = tokio_tungstenite::accept_async(stream)
            .await
            .map_err(std::io::Error::other)?;
        // The server speaks first, and answers everything until it is told to close.
        let _ = socket.send(Message::text("welcome")).await;
        while let Some(Ok(message)) = socket.next().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                let _ = socket.send(message).await;
            }
        }
        Ok(())
    })
    .await;
    let flags = [
        "--health-check-interval=1h",
        "--response-timeout=300ms",
        "--idle-timeout=300ms",
        "--header-timeout=300ms",
    ];
    let balancer = Balancer::start(&world(&[("eu", &[chat])]), &flags).await;
    let stream = balancer.connect_from("127.2.0.1").await;
    let (mut socket, response) = tokio_tungstenite::client_async("ws://web.example/chat", stream)
        .await
        .expect("a WebSocket");
    assert_eq!(response.headers()["x-lb-cluster"], "eu");
    let mut said = async |message: Option<Message>| {
        if let Some(message) = message {
            socket.send(message).await.expect("sent");
        }
        tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("an answer in time")
            .expect("an answer")
            .expect("a message")
    };
    assert_eq!(said(None).await, Message::text("welcome"));
    // Longer than all the limits and two rounds of the sweep that enforces them.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let large = Message::binary(vec![7; 300_000]);
    assert_eq!(said(Some(large.clone())).await, large);
    let bye = Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "bye".into(),
    }));
    assert_eq!(said(Some(bye.clone())).await, bye);
    assert!(
        socket.next().await.is_none(),
        "the connection ends with the closing handshake"
    );
    drop(socket);
    balancer.logged(|line| line["status"] == 101).await;
}
