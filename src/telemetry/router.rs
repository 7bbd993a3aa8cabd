//! Health and metrics over HTTP, for processes that serve nothing else on that port.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{Endpoint, Health, Metrics};

/// `/healthz`, `/livez`, `/readyz` (with single checks below them) and `/metrics`.
pub fn router(health: Health, metrics: Metrics) -> Router {
    let mut router = Router::new();
    for endpoint in ["/healthz", "/livez", "/readyz"] {
        router = router
            .route(endpoint, get(answer))
            .route(&format!("{endpoint}/{{check}}"), get(answer));
    }
    let health = router.with_state(health);
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
        .merge(health)
}

async fn answer(State(health): State<Health>, uri: Uri) -> Response {
    let Some((endpoint, single)) = Endpoint::parse(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let answer = health.answer(endpoint, single, uri.query().unwrap_or_default()).await;
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], answer.body).into_response()
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.encode()).into_response()
}
