//! Opening listening sockets, one per worker and address.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// A client that is silent for so long, as in a tunnel, is asked by the kernel whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct Error {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// `count` sockets on one address. Port 0 takes a free one, the same for all.
///
/// # Errors
/// When the address cannot be had.
pub fn listeners(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, Error> {
    let wrap = |address| move |source| Error { address, source };
    let first = listener(address).map_err(wrap(address))?;
    let address = first.local_addr().map_err(wrap(address))?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(listener(address).map_err(wrap(address))?);
    }
    Ok(sockets)
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Connections inherit both from their listener, which costs no system call for each.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
