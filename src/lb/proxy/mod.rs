//! Serving one request: check, locate, route, forward, answer.

pub mod affinity;
pub mod check;
pub mod client;
pub mod forward;
pub mod headers;
pub mod refuse;
pub mod response;
mod select;
pub mod ticket;
mod upgrade;

use std::{convert::Infallible, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{metrics::Refusal, runtime::Snapshot, serve::conn::Downstream};
use refuse::Refused;
use response::ResponseBody;
use ticket::Ticket;

/// Serves a request that arrived on `downstream`.
///
/// # Errors
/// Never: whatever goes wrong is an answer.
pub async fn serve(
    downstream: Arc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let snapshot = downstream.worker.shared.snapshot.load_full();
    let trusted = downstream.is_trusted();
    let client = client::identify(&downstream, &snapshot, request.headers(), trusted);
    let mut ticket = Ticket::new(&downstream, &request, Arc::clone(&client));
    let checked = match check::request(&request) {
        Ok(checked) => checked,
        Err(refused) => return Ok(refused.respond(request.headers(), ticket)),
    };
    let Some(target) = snapshot
        .routes
        .find(&checked.host, request.uri().path())
        .and_then(|target| snapshot.targets.get(*target))
    else {
        let refused = no_route(&snapshot, &checked.host, request.uri().path());
        return Ok(refused.respond(request.headers(), ticket));
    };
    ticket.route = Some(Arc::clone(&target.ingress));
    let secure = downstream.is_tls
        || (trusted
            && request
                .headers()
                .get("x-forwarded-proto")
                .is_some_and(|proto| proto == "https"));
    if target.ssl_redirect && !secure {
        return Ok(redirect(&checked.host, &request, ticket));
    }
    let backend = Arc::clone(&snapshot.backends[target.backend]);
    if let Some(refused) = refuse::unserved(&backend) {
        return Ok(refused.respond(request.headers(), ticket));
    }
    let forwarding = forward::Forwarding {
        downstream: &downstream,
        snapshot: &snapshot,
        backend,
        client,
        trusted,
        host: &checked.host,
    };
    Ok(forwarding.run(request, ticket).await)
}

fn no_route(snapshot: &Snapshot, host: &str, path: &str) -> Refused {
    let message = if snapshot.routes.is_empty() {
        "no Ingress is served here yet".to_owned()
    } else {
        format!("no Ingress rule matches host {host:?} and path {path:?}")
    };
    Refused {
        status: StatusCode::NOT_FOUND,
        refusal: Refusal::NoRoute,
        message,
        close: false,
        retry_after: None,
    }
}

fn redirect(host: &str, request: &Request<Incoming>, ticket: Box<Ticket>) -> Response<ResponseBody> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let refused = Refused {
        status: StatusCode::PERMANENT_REDIRECT,
        refusal: Refusal::Redirect,
        message: "this host is served over HTTPS only".to_owned(),
        close: false,
        retry_after: None,
    };
    let mut response = refused.respond(request.headers(), ticket);
    if let Ok(location) = HeaderValue::from_str(&format!("https://{host}{path}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
