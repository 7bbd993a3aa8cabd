//! A member behind connections that stay open and carry nothing, as when its API server is stopped (SIGSTOP) or a
//! firewall drops its packets.

use std::net::SocketAddr;

use client::{Key, resources::CONFIG_MAPS};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::support::{eventually, found, manage, serve};

/// Passes bytes on in one direction, unless it is frozen.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        if !thawed || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

/// Accepts connections for `target`; returns where.
async fn relay(target: SocketAddr, frozen: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let frozen = frozen.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.expect("the member listens");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::join!(
                    pass(from_client, to_server, frozen.clone()),
                    pass(from_server, to_client, frozen)
                );
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_member_delays_nobody_and_gets_everything_when_it_is_back() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let stop = CancellationToken::new();
    let federation = serve(dir.path(), "federation", apiserver::Profile::Federation, &stop).await;
    let mut members = [
        serve(dir.path(), "eu", apiserver::Profile::Member, &stop).await,
        serve(dir.path(), "us", apiserver::Profile::Member, &stop).await,
    ];
    let (freeze, frozen) = watch::channel(false);
    let target = members[0]
        .url
        .strip_prefix("https://")
        .expect("TLS")
        .parse()
        .expect("an address");
    members[0].url = format!("https://{}", relay(target, frozen).await);
    let manager_stop = CancellationToken::new();
    let flags = ["--cluster-monitor-period=500ms", "--member-request-timeout=2s"];
    let manager = manage(&federation, &members, &flags, manager_stop.clone()).await;

    freeze.send_replace(true);
    let keys: Vec<Key> = (0..40).map(|i| Key::from(format!("default/c{i}").as_str())).collect();
    for key in &keys {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key.name()}, "data": {"k": "v"}});
        let created = federation.rest.create(&CONFIG_MAPS, Some("default"), &object).await;
        created.expect("config map is created");
    }
    for key in &keys {
        eventually("copy arrives in us", || found(&members[1].rest, &CONFIG_MAPS, key)).await;
    }
    assert!(
        found(&members[0].rest, &CONFIG_MAPS, &keys[0]).await.is_err(),
        "eu is frozen"
    );

    freeze.send_replace(false);
    for key in &keys {
        eventually("copy arrives in eu", || found(&members[0].rest, &CONFIG_MAPS, key)).await;
    }
    manager_stop.cancel();
    manager.await.expect("does not panic").expect("stops cleanly");
    stop.cancel();
}
