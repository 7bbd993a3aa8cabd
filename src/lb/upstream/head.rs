//! Heads of HTTP/1.1 responses, parsed strictly.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Headers a response may have.
const MOST_HEADERS: usize = 128;
/// Headers that the proxy adds to most responses: room for them from the start.
const ADDED_HEADERS: usize = 2;
/// Bytes a response's head may have.
pub const LONGEST_HEAD: usize = 64 * 1024;

/// How long a response's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// A parsed head, without the headers that concern the connection only.
#[derive(Debug)]
pub struct Head {
    /// Status.
    pub status: StatusCode,
    /// Headers for the client.
    pub headers: HeaderMap,
    /// The body that follows.
    pub framing: Framing,
    /// The connection may be used again.
    pub keep_alive: bool,
}

/// The endpoint does not speak HTTP as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The head cannot be parsed.
    #[error("malformed response head: {0}")]
    Syntax(httparse::Error),
    /// The head is longer than [`LONGEST_HEAD`].
    #[error("the response head is too long")]
    TooLong,
    /// Content-Length or Transfer-Encoding make no sense.
    #[error("contradictory or malformed framing of the response body")]
    Framing,
}

/// Takes a head out of `buffer`; `None` if it is not complete yet. `method` is that of the request.
///
/// # Errors
/// When what is there is no acceptable head.
pub fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Error> {
    let mut storage = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, buffer, &mut storage) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() > LONGEST_HEAD => return Err(Error::TooLong),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Error::Syntax(error)),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Error::Syntax(httparse::Error::Status))?;
    let http_11 = response.version == Some(1);
    // Heads are small: copied, they do not keep the connection's buffer from being used again.
    let raw = Bytes::copy_from_slice(&buffer[..length]);
    let base = buffer.as_ptr() as usize;
    let mut building = Building {
        headers: HeaderMap::with_capacity(response.headers.len() + ADDED_HEADERS),
        ..Building::default()
    };
    for field in response.headers.iter() {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Error::Syntax(httparse::Error::HeaderName))?;
        let at = field.value.as_ptr() as usize - base;
        building.field(name, raw.slice(at..at + field.value.len()))?;
    }
    buffer.advance(length);
    building.finish(status, http_11, method).map(Some)
}

#[derive(Default)]
struct Building {
    headers: HeaderMap,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    named: Vec<HeaderName>,
}

impl Building {
    fn field(&mut self, name: HeaderName, value: Bytes) -> Result<(), Error> {
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Error::Syntax(httparse::Error::HeaderValue))?;
        if name == header::CONNECTION {
            self.connection(&value);
            return Ok(());
        }
        if name == header::TRANSFER_ENCODING {
            // Anything but one plain `chunked` is a coding we cannot undo.
            let plain = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            return if plain && !std::mem::replace(&mut self.chunked, true) {
                Ok(())
            } else {
                Err(Error::Framing)
            };
        }
        if name == header::CONTENT_LENGTH {
            let length = parse_length(value.as_bytes()).ok_or(Error::Framing)?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Error::Framing);
            }
            if self.length.replace(length).is_some() {
                return Ok(());
            }
        }
        if !is_hop_by_hop(&name) {
            self.headers.append(name, value);
        }
        Ok(())
    }

    fn connection(&mut self, value: &HeaderValue) {
        for token in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if token.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            } else if let Ok(name) = HeaderName::from_bytes(token.as_bytes()) {
                self.named.push(name);
            }
        }
    }

    fn finish(mut self, status: StatusCode, http_11: bool, method: &Method) -> Result<Head, Error> {
        for name in &self.named {
            if *name != header::UPGRADE {
                self.headers.remove(name);
            }
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.headers.remove(header::UPGRADE);
        }
        if self.chunked {
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let without_body = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match self.length {
            _ if without_body => Framing::Empty,
            _ if self.chunked => Framing::Chunked,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        };
        let persistent = if http_11 {
            !self.close
        } else {
            self.keep_alive && !self.close
        };
        Ok(Head {
            status,
            headers: self.headers,
            keep_alive: persistent && framing != Framing::Close,
            framing,
        })
    }
}

/// Digits and nothing else.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// Headers that concern one connection (RFC 9110 §7.6.1), `Connection` and `Upgrade` aside.
/// Trailers are not forwarded over HTTP/1.1, so neither is their announcement.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::TRAILER
        || *name == header::PROXY_AUTHENTICATE
        || name.as_str() == "keep-alive"
        || name.as_str() == "proxy-connection"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Result<Option<Head>, Error> {
        parse(&mut BytesMut::from(text), &Method::GET)
    }

    fn parsed(text: &str) -> Head {
        head(text).expect("acceptable").expect("complete")
    }

    #[test]
    fn a_plain_response_keeps_its_headers_and_its_connection() {
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello");
        let head = parse(&mut buffer, &Method::GET).expect("acceptable").expect("complete");
        assert_eq!(
            (head.status, head.framing, head.keep_alive),
            (StatusCode::OK, Framing::Length(5), true)
        );
        assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn headers_of_the_connection_are_not_forwarded() {
        let head = parsed(
            "HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nKeep-Alive: timeout=5\r\nX-Internal: 1\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        assert!(head.headers.is_empty(), "{:?}", head.headers);
        assert_eq!((head.framing, head.keep_alive), (Framing::Chunked, false));
    }

    #[test]
    fn chunked_overrides_a_length() {
        let head = parsed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(head.framing, Framing::Chunked);
        assert!(head.headers.get(header::CONTENT_LENGTH).is_none());
    }

    #[test]
    fn responses_without_a_body_have_none_whatever_they_claim() {
        for text in [
            "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not\r\n\r\n",
            "HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ] {
            assert_eq!(parsed(text).framing, Framing::Empty);
        }
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let head = parse(&mut buffer, &Method::HEAD)
            .expect("acceptable")
            .expect("complete");
        assert_eq!(head.framing, Framing::Empty);
        assert_eq!(head.headers[header::CONTENT_LENGTH], "5");
    }

    #[test]
    fn an_old_server_closes_unless_it_says_otherwise() {
        assert!(!parsed("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").keep_alive);
        assert!(parsed("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n").keep_alive);
        assert_eq!(parsed("HTTP/1.1 200 OK\r\n\r\n").framing, Framing::Close);
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: ",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
        ] {
            assert_eq!(
                head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).expect_err(fields),
                Error::Framing
            );
        }
        assert!(matches!(
            head("HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n"),
            Err(Error::Syntax(_))
        ));
    }

    #[test]
    fn an_incomplete_head_waits_and_an_endless_one_does_not() {
        assert!(head("HTTP/1.1 200 OK\r\nX: ").expect("acceptable").is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(LONGEST_HEAD));
        assert_eq!(head(&endless).expect_err("too long"), Error::TooLong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..]);
            buffer.extend_from_slice(&bytes);
            let _ = parse(&mut buffer, &Method::GET);
        }
    }
}
