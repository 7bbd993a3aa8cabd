//! Health checks by name, answered as kube-apiserver answers `/healthz`, `/livez` and `/readyz`.

use std::{fmt::Write as _, future::Future, pin::Pin, sync::Arc};

use parking_lot::RwLock;

/// The result of a check; an error says in words what is wrong.
pub type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A health check. Called for every request, so it must be quick or bounded in time.
pub type Check = Arc<dyn Fn() -> CheckFuture + Send + Sync>;

/// Which question a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/healthz`: everything.
    Healthz,
    /// `/livez`: whether a restart would help.
    Livez,
    /// `/readyz`: whether requests can be served now.
    Readyz,
}

impl Endpoint {
    /// Its name, the first segment of the path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }

    /// The endpoint and the single check of a path such as `/livez/ping`; `None` for other paths.
    #[must_use]
    pub fn parse(path: &str) -> Option<(Self, Option<&str>)> {
        let path = path.strip_prefix('/')?;
        let (endpoint, check) = path
            .split_once('/')
            .map_or((path, None), |(endpoint, check)| (endpoint, Some(check)));
        let endpoint = [Self::Healthz, Self::Livez, Self::Readyz]
            .into_iter()
            .find(|e| e.name() == endpoint)?;
        Some((endpoint, check.filter(|check| !check.is_empty())))
    }
}

/// What to answer: an HTTP status code and a plain text body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200, 404 or 500.
    pub code: u16,
    /// The body, `text/plain; charset=utf-8`.
    pub body: String,
}

struct Named {
    name: String,
    /// Readiness checks say nothing about liveness.
    readiness_only: bool,
    check: Check,
}

/// The checks of a process. Cheap to clone; clones share the checks.
#[derive(Clone)]
pub struct Health {
    checks: Arc<RwLock<Vec<Arc<Named>>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// With the check `ping`, which always passes.
    #[must_use]
    pub fn new() -> Self {
        let health = Self { checks: Arc::default() };
        health.add("ping", || async { Ok(()) });
        health
    }

    /// Adds a check to all three endpoints.
    pub fn add<F>(&self, name: &str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.push(name, false, check);
    }

    /// Adds a check to `/readyz` and `/healthz` only: a process that fails it should get no requests, and no restart.
    pub fn add_readiness<F>(&self, name: &str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.push(name, true, check);
    }

    fn push<F>(&self, name: &str, readiness_only: bool, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks.write().push(Arc::new(Named {
            name: name.to_owned(),
            readiness_only,
            check,
        }));
    }

    /// Answers `/livez`, `/readyz/NAME` and so on. `query` is the raw query string: `verbose` and `exclude=NAME`
    /// (any number of times) are known.
    pub async fn answer(&self, endpoint: Endpoint, single: Option<&str>, query: &str) -> Answer {
        let checks: Vec<_> = {
            let checks = self.checks.read();
            checks
                .iter()
                .filter(|c| !(c.readiness_only && endpoint == Endpoint::Livez))
                .cloned()
                .collect()
        };
        match single {
            Some(name) => answer_single(&checks, name).await,
            None => answer_all(&checks, endpoint, query).await,
        }
    }
}

async fn answer_single(checks: &[Arc<Named>], name: &str) -> Answer {
    let Some(named) = checks.iter().find(|named| named.name == name) else {
        return Answer {
            code: 404,
            body: "404 page not found\n".into(),
        };
    };
    match (named.check)().await {
        Ok(()) => Answer {
            code: 200,
            body: "ok".into(),
        },
        Err(reason) => Answer {
            code: 500,
            body: format!("internal server error: {reason}\n"),
        },
    }
}

async fn answer_all(checks: &[Arc<Named>], endpoint: Endpoint, query: &str) -> Answer {
    let parameters: Vec<_> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let verbose = parameters.iter().any(|(key, _)| *key == "verbose");
    let excluded: Vec<_> = parameters
        .iter()
        .filter(|(key, _)| *key == "exclude")
        .map(|(_, name)| *name)
        .collect();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for named in checks {
        let name = &named.name;
        // Writing to a string cannot fail.
        let _ = if excluded.contains(&&**name) {
            writeln!(lines, "[+]{name} excluded: ok")
        } else if let Err(reason) = (named.check)().await {
            failed.push(format!("{name}: {reason}"));
            // Anonymous clients may read this; the reason is for the log.
            writeln!(lines, "[-]{name} failed: reason withheld")
        } else {
            writeln!(lines, "[+]{name} ok")
        };
    }
    let unknown: Vec<_> = excluded
        .iter()
        .filter(|name| !checks.iter().any(|c| c.name == **name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        let _ = writeln!(
            lines,
            "warn: some health checks cannot be excluded: no matches for {names}"
        );
    }
    let endpoint = endpoint.name();
    if !failed.is_empty() {
        tracing::warn!(endpoint, failed = failed.join("; "), "health check failed");
        return Answer {
            code: 500,
            body: format!("{lines}{endpoint} check failed\n"),
        };
    }
    let body = if verbose {
        format!("{lines}{endpoint} check passed\n")
    } else {
        "ok".into()
    };
    Answer { code: 200, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let health = Health::new();
        health.add("storage", || async { Ok(()) });
        health.add_readiness("informers", || async { Err("not synced".to_owned()) });
        health
    }

    async fn get(path: &str, query: &str) -> (u16, String) {
        let (endpoint, single) = Endpoint::parse(path).unwrap();
        let answer = health().answer(endpoint, single, query).await;
        (answer.code, answer.body)
    }

    #[tokio::test]
    async fn readiness_checks_do_not_fail_liveness() {
        assert_eq!(get("/livez", "").await, (200, "ok".into()));
        assert_eq!(get("/readyz", "").await.0, 500);
        assert_eq!(get("/healthz", "").await.0, 500);
    }

    #[tokio::test]
    async fn verbose_lists_every_check() {
        assert_eq!(
            get("/livez", "verbose").await.1,
            "[+]ping ok\n[+]storage ok\nlivez check passed\n"
        );
        let failing = "[+]ping ok\n[+]storage ok\n[-]informers failed: reason withheld\nreadyz check failed\n";
        assert_eq!(get("/readyz", "").await.1, failing);
    }

    #[tokio::test]
    async fn excluded_checks_do_not_count() {
        let (code, body) = get("/readyz", "verbose&exclude=informers&exclude=nonsense").await;
        assert_eq!(code, 200);
        assert!(body.contains("[+]informers excluded: ok\n"), "{body}");
        assert!(body.contains("no matches for \"nonsense\""), "{body}");
    }

    #[tokio::test]
    async fn single_checks_answer_by_themselves() {
        assert_eq!(get("/readyz/ping", "").await, (200, "ok".into()));
        assert_eq!(
            get("/readyz/informers", "").await,
            (500, "internal server error: not synced\n".into())
        );
        assert_eq!(get("/livez/informers", "").await.0, 404);
    }

    #[test]
    fn other_paths_are_not_health_endpoints() {
        assert_eq!(Endpoint::parse("/livez/"), Some((Endpoint::Livez, None)));
        assert_eq!(Endpoint::parse("/metrics"), None);
        assert_eq!(Endpoint::parse("/livezz"), None);
    }
}
