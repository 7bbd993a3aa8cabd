//! Requests that must not be forwarded: what two parsers could understand in two ways, and what breaks a limit.
//!
//! hyper refuses malformed heads and contradictory lengths before this; here is what it lets pass.

use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use traffic::route::{escapes_root, has_encoded_nul, normalize_host};

use super::refuse::Refused;
use crate::metrics::Refusal;

/// Longest path and query.
const LONGEST_TARGET: usize = 8 * 1024;

/// What was found out on the way.
#[derive(Debug)]
pub struct Checked {
    /// Host to route by: lower case, without port.
    pub host: String,
}

/// Checks a request.
///
/// # Errors
/// The answer, when it must not be forwarded.
pub fn request<B>(request: &Request<B>) -> Result<Checked, Refused> {
    if request.method() == Method::CONNECT || request.method() == Method::TRACE {
        return Err(refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "CONNECT and TRACE are not served",
            request.method() == Method::CONNECT,
        ));
    }
    let target = request.uri();
    let path = target.path();
    if !path.starts_with('/') {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the request target is not a path",
            true,
        ));
    }
    if target
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > LONGEST_TARGET)
    {
        return Err(refused(
            StatusCode::URI_TOO_LONG,
            "the request target is too long",
            true,
        ));
    }
    if escapes_root(path) || has_encoded_nul(path) {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the path leaves the root or contains NUL",
            true,
        ));
    }
    let host = host(request)?;
    lengths(request)?;
    Ok(Checked { host })
}

/// The host: of the target if it has one, which every HTTP/2 request has, else of the Host header.
fn host<B>(request: &Request<B>) -> Result<String, Refused> {
    let bad = |message: &'static str| refused(StatusCode::BAD_REQUEST, message, true);
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(bad("the request has several Host headers"));
    }
    let field = field
        .map(|field| field.to_str().map_err(|_| bad("the Host header is malformed")))
        .transpose()?;
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let raw = match (authority, field) {
        (Some(authority), Some(field))
            if request.version() == Version::HTTP_2 && !authority.eq_ignore_ascii_case(field) =>
        {
            return Err(bad("Host and :authority differ"));
        }
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) if request.version() == Version::HTTP_10 => return Ok(String::new()),
        (None, None) => return Err(bad("the request has no Host header")),
    };
    normalize_host(raw)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| bad("the Host header is malformed"))
}

/// Content-Length and Transfer-Encoding, beyond what hyper checks.
fn lengths<B>(request: &Request<B>) -> Result<(), Refused> {
    let headers = request.headers();
    let bad = |message: &'static str| Err(refused(StatusCode::BAD_REQUEST, message, true));
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(first) = lengths.next() {
        if first.as_bytes().is_empty() || !first.as_bytes().iter().all(u8::is_ascii_digit) {
            return bad("Content-Length is malformed");
        }
        if lengths.any(|other| other != first) {
            return bad("the request has several Content-Lengths");
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if request.version() != Version::HTTP_11 {
            return bad("Transfer-Encoding is HTTP/1.1's alone");
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let plain = codings
            .next()
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !plain || codings.next().is_some() {
            return bad("a Transfer-Encoding other than chunked is not understood");
        }
    }
    Ok(())
}

/// Whether the request's body comes in chunks.
pub fn is_chunked(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
}

fn refused(status: StatusCode, message: &'static str, close: bool) -> Refused {
    Refused {
        status,
        refusal: Refusal::BadRequest,
        message: message.to_owned(),
        close,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(target: &str, fields: &[(&'static str, &str)]) -> Result<String, u16> {
        let mut built = Request::builder().uri(target);
        for (name, value) in fields {
            built = built.header(*name, *value);
        }
        request(&built.body(()).expect("a request"))
            .map(|checked| checked.host)
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn the_host_is_that_of_the_target_or_of_the_header() {
        assert_eq!(status("/", &[("host", "A.example:80")]), Ok("a.example".to_owned()));
        assert_eq!(
            status("http://b.example/x", &[("host", "a.example")]),
            Ok("b.example".to_owned())
        );
        assert_eq!(status("/", &[]), Err(400));
        assert_eq!(status("/", &[("host", "a"), ("host", "a")]), Err(400));
        assert_eq!(status("/", &[("host", "a b")]), Err(400));
        assert_eq!(status("/", &[("host", "")]), Err(400));
    }

    #[test]
    fn http_2_must_not_name_two_hosts() {
        let of = |host: &str| {
            let built = Request::builder()
                .version(Version::HTTP_2)
                .uri("https://a.example/")
                .header("host", host);
            request(&built.body(()).expect("a request")).is_ok()
        };
        assert!(of("a.example") && !of("b.example"));
    }

    #[test]
    fn an_old_request_needs_no_host() {
        let old = Request::builder()
            .version(Version::HTTP_10)
            .uri("/")
            .body(())
            .expect("a request");
        assert_eq!(request(&old).expect("acceptable").host, "");
    }

    #[test]
    fn paths_that_climb_or_hide_a_nul_are_refused() {
        for target in ["/../x", "/%2e%2E/x", "/a/../../x", "/a%00"] {
            assert_eq!(status(target, &[("host", "a")]), Err(400), "{target}");
        }
        assert_eq!(status(&format!("/{}", "a".repeat(9000)), &[("host", "a")]), Err(414));
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        for fields in [
            &[("content-length", "5"), ("content-length", "6")][..],
            &[("content-length", "+5")],
            &[("content-length", "5, 5")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            let mut all = vec![("host", "a")];
            all.extend(fields);
            assert_eq!(status("/", &all), Err(400), "{fields:?}");
        }
        assert!(status("/", &[("host", "a"), ("transfer-encoding", "Chunked")]).is_ok());
    }
}
