//! Connections from a listener to one of several addresses.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Bytes of each direction's buffer.
const BUFFER: usize = 8 << 10;
/// How long an endpoint may take to accept.
const CONNECT: Duration = Duration::from_secs(3);

/// The addresses behind a listener, in turn.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    backends: RwLock<Arc<[SocketAddr]>>,
    turn: AtomicUsize,
    /// One client always gets the same backend, as long as the backends stay the same.
    sticky: bool,
}

impl Balancer {
    /// Of these addresses. `sticky`: by client address.
    pub(crate) fn new(backends: Vec<SocketAddr>, sticky: bool) -> Self {
        Self {
            backends: RwLock::new(backends.into()),
            turn: AtomicUsize::new(0),
            sticky,
        }
    }

    /// Changes the addresses; open connections stay.
    pub(crate) fn set(&self, backends: Vec<SocketAddr>) {
        *self.backends.write() = backends.into();
    }

    /// The addresses to try for a client, the first one first.
    pub(crate) fn choices(&self, client: IpAddr) -> Vec<SocketAddr> {
        let backends = self.backends.read().clone();
        if backends.is_empty() {
            return Vec::new();
        }
        let start = if self.sticky {
            let mut hasher = DefaultHasher::new();
            client.hash(&mut hasher);
            usize::try_from(hasher.finish() % backends.len() as u64).unwrap_or(0)
        } else {
            self.turn.fetch_add(1, Ordering::Relaxed) % backends.len()
        };
        backends[start..].iter().chain(&backends[..start]).copied().collect()
    }
}

/// Passes the connections of a listener on to one address, until `stop`.
pub(crate) fn to_one(listener: TcpListener, target: SocketAddr, stop: CancellationToken) {
    balanced(listener, Arc::new(Balancer::new(vec![target], false)), stop);
}

/// Passes the connections of a listener on, until `stop`, which also ends them.
pub(crate) fn balanced(listener: TcpListener, balancer: Arc<Balancer>, stop: CancellationToken) {
    tokio::spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, client)) = accepted else {
                // Out of file descriptors, mostly: others must end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (balancer, stop) = (balancer.clone(), stop.clone());
            tokio::spawn(async move {
                stop.run_until_cancelled(pass_on(stream, client, &balancer)).await;
            });
        }
    });
}

async fn pass_on(mut client: TcpStream, address: SocketAddr, balancer: &Balancer) {
    for target in balancer.choices(address.ip()) {
        match connect(target, address.ip()).await {
            Ok(mut backend) => {
                let _ = client.set_nodelay(true);
                let _ = backend.set_nodelay(true);
                // An error is the end of the connection, and both sides see that.
                let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await;
                return;
            }
            Err(error) => tracing::debug!(%target, %error, "endpoint does not accept"),
        }
    }
    // As if nobody listened.
    let _ = client.set_zero_linger();
}

/// Connects as the client, so that the pod sees who calls, where the client's address is this machine's.
async fn connect(target: SocketAddr, client: IpAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if client.is_loopback() && client.is_ipv4() == target.is_ipv4() {
        socket.bind(SocketAddr::new(client, 0))?;
    }
    tokio::time::timeout(CONNECT, socket.connect(target)).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn backends_take_turns_and_the_others_are_second_choices() {
        let balancer = Balancer::new(vec![address("127.0.0.1:1"), address("127.0.0.1:2")], false);
        let client = IpAddr::from([127, 0, 0, 1]);
        let first = |choices: Vec<SocketAddr>| choices.iter().map(SocketAddr::port).collect::<Vec<_>>();
        assert_eq!(first(balancer.choices(client)), [1, 2]);
        assert_eq!(first(balancer.choices(client)), [2, 1]);
        balancer.set(vec![]);
        assert!(balancer.choices(client).is_empty());
    }

    #[test]
    fn a_sticky_client_stays() {
        let balancer = Balancer::new(
            (1..9).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect(),
            true,
        );
        let client = IpAddr::from([127, 2, 0, 1]);
        assert_eq!(balancer.choices(client), balancer.choices(client));
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_passed_over_and_the_client_address_kept() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = dead.local_addr().unwrap();
        drop(dead);
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = alive.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, client) = alive.accept().await.unwrap();
            stream.write_all(client.ip().to_string().as_bytes()).await.unwrap();
        });
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let entry = front.local_addr().unwrap();
        let stop = CancellationToken::new();
        balanced(front, Arc::new(Balancer::new(vec![gone, target], false)), stop.clone());
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address("127.2.0.1:0")).unwrap();
        let mut stream = socket.connect(entry).await.unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "127.2.0.1");
        stop.cancel();
    }
}
