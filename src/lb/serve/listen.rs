//! Opening listening sockets, one per worker and address.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

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
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
