//! An HTTP client with a source address: somebody somewhere in the world.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Head, as sent.
    pub head: String,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The value of a `key: value` line of the body: what a pod tells of itself.
    #[must_use]
    pub fn tells(&self, key: &str) -> Option<&str> {
        self.body
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    }
}

/// One GET for `host` on a connection of its own, from a source address.
///
/// # Errors
/// What went wrong with the connection, in words.
pub fn get(source: &str, target: SocketAddr, host: &str, path: &str) -> Result<Answer, String> {
    let exchange = || -> std::io::Result<String> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let source: std::net::IpAddr = source.parse().map_err(std::io::Error::other)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&target.into(), Duration::from_secs(5))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream: std::net::TcpStream = socket.into();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = exchange().map_err(|e| e.to_string())?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("not an HTTP answer: {text:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("not an HTTP answer: {head}"))?;
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
