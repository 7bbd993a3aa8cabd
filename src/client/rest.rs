//! Requests on JSON objects, each with a timeout and under the server's circuit breaker.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use apimachinery::{
    Object,
    status::{Status, StatusDetails},
};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;

use crate::{
    Error,
    breaker::{Breaker, Permit},
    informer::Key,
};

/// No answer needs more; what is larger is not an object.
const MAX_BODY: usize = 256 << 20;

/// A resource of an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind, as `Deployment`.
    pub kind: &'static str,
    /// Plural name, as `deployments`.
    pub plural: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    fn base(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// Path of the collection in all namespaces, or in one.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => format!("{}/namespaces/{namespace}/{}", self.base(), self.plural),
            Some(_) | None => format!("{}/{}", self.base(), self.plural),
        }
    }

    /// Path of one object.
    #[must_use]
    pub fn object(&self, key: &Key) -> String {
        format!("{}/{}", self.collection(key.namespace()), key.name())
    }
}

/// How to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go afterwards.
    Background,
    /// Dependents go first.
    Foreground,
}

/// One API server.
#[derive(Clone)]
pub struct Rest {
    name: Arc<str>,
    client: kube::Client,
    breaker: Arc<Breaker>,
    timeout: Duration,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Rest {
    /// Wraps a client. `name` is for logs and errors.
    #[must_use]
    pub fn new(name: &str, client: kube::Client) -> Self {
        Self {
            name: name.into(),
            client,
            breaker: Arc::default(),
            timeout: Duration::from_secs(10),
        }
    }

    /// The same with another time limit per request (10 s by default; watches have none).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// kube's client, for what is not here.
    #[must_use]
    pub fn kube(&self) -> kube::Client {
        self.client.clone()
    }

    fn request(method: &Method, path: &str, content_type: &str, body: Vec<u8>) -> Result<Request<Body>, Error> {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        if !content_type.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        builder.body(Body::from(body)).map_err(|source| Error::Request {
            path: path.to_owned(),
            source,
        })
    }

    async fn send(&self, method: &Method, path: &str, request: Request<Body>) -> Result<Response<Body>, Error> {
        match tokio::time::timeout(self.timeout, self.client.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(Error::Transport {
                method: method.clone(),
                path: path.to_owned(),
                source: Box::new(source),
            }),
            Err(_) => Err(Error::Timeout {
                method: method.clone(),
                path: path.to_owned(),
                timeout: self.timeout,
            }),
        }
    }

    async fn answer(&self, method: &Method, path: &str, request: Request<Body>) -> Result<Bytes, Error> {
        let read = async {
            let response = self.send(method, path, request).await?;
            let status = response.status();
            let retry_after = retry_after(response.headers());
            let collected = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = collected
                .map_err(|source| Error::Transport {
                    method: method.clone(),
                    path: path.to_owned(),
                    source,
                })?
                .to_bytes();
            if status.is_success() {
                Ok(body)
            } else {
                Err(refusal(status.as_u16(), retry_after, &body))
            }
        };
        match tokio::time::timeout(self.timeout, read).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                method: method.clone(),
                path: path.to_owned(),
                timeout: self.timeout,
            }),
        }
    }

    /// Sends a request and returns the body of the answer, whatever the breaker says; the outcome counts for it.
    ///
    /// # Errors
    /// As every request here.
    pub async fn probe(&self, path: &str) -> Result<Bytes, Error> {
        let request = Self::request(&Method::GET, path, "", Vec::new())?;
        let result = self.answer(&Method::GET, path, request).await;
        self.breaker
            .record(result.as_ref().err().is_none_or(|e| !e.is_unreachable()));
        result
    }

    /// Sends a request and returns the body of the answer.
    ///
    /// # Errors
    /// If there is no answer, or it is an error.
    pub async fn raw(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> Result<Bytes, Error> {
        self.permit()?;
        let request = Self::request(&method, path, content_type, body)?;
        let result = self.answer(&method, path, request).await;
        self.breaker
            .record(result.as_ref().err().is_none_or(|e| !e.is_unreachable()));
        result
    }

    fn permit(&self) -> Result<(), Error> {
        match self.breaker.permit() {
            Permit::Go => Ok(()),
            Permit::Wait(wait) => Err(Error::BreakerOpen {
                server: self.name.to_string(),
                wait,
                failures: crate::breaker::FAILURES_TO_OPEN,
            }),
        }
    }

    async fn json(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> Result<Object, Error> {
        let bytes = self.raw(method.clone(), path, content_type, body).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode {
            method,
            path: path.to_owned(),
            source,
        })
    }

    /// One object.
    ///
    /// # Errors
    /// 404 if it does not exist.
    pub async fn get(&self, resource: &Resource, key: &Key) -> Result<Object, Error> {
        self.json(Method::GET, &resource.object(key), "", Vec::new()).await
    }

    /// One object, or none.
    ///
    /// # Errors
    /// Those of [`Rest::get`] but for the object not existing.
    pub async fn find(&self, resource: &Resource, key: &Key) -> Result<Option<Object>, Error> {
        match self.get(resource, key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of a collection; `query` without the leading `?`.
    ///
    /// # Errors
    /// As every request here.
    pub async fn list(&self, resource: &Resource, namespace: Option<&str>, query: &str) -> Result<Object, Error> {
        let mut path = resource.collection(namespace);
        if !query.is_empty() {
            let _ = write!(path, "?{query}");
        }
        self.json(Method::GET, &path, "", Vec::new()).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// 409 if it exists.
    pub async fn create(&self, resource: &Resource, namespace: Option<&str>, object: &Object) -> Result<Object, Error> {
        let path = format!(
            "{}?fieldManager={}",
            resource.collection(namespace),
            api::well_known::FIELD_MANAGER
        );
        self.json(Method::POST, &path, "application/json", object.to_string().into_bytes())
            .await
    }

    /// Replaces an object, or its subresource (`/status`; empty for the object).
    ///
    /// # Errors
    /// 409 if it changed since.
    pub async fn update(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        object: &Object,
    ) -> Result<Object, Error> {
        let path = format!(
            "{}{subresource}?fieldManager={}",
            resource.object(key),
            api::well_known::FIELD_MANAGER
        );
        self.json(Method::PUT, &path, "application/json", object.to_string().into_bytes())
            .await
    }

    /// Server-side apply with our field manager. With `force`, fields of others are taken over.
    ///
    /// # Errors
    /// 409 if others own a field and `force` is false.
    pub async fn apply(&self, resource: &Resource, key: &Key, config: &Object, force: bool) -> Result<Object, Error> {
        let path = format!(
            "{}?fieldManager={}&force={force}",
            resource.object(key),
            api::well_known::FIELD_MANAGER
        );
        self.json(
            Method::PATCH,
            &path,
            "application/apply-patch+yaml",
            config.to_string().into_bytes(),
        )
        .await
    }

    /// JSON merge patch of an object, or of its subresource (`/status`; empty for the object).
    ///
    /// # Errors
    /// As every request here.
    pub async fn merge(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        patch: &Object,
    ) -> Result<Object, Error> {
        let path = format!(
            "{}{subresource}?fieldManager={}",
            resource.object(key),
            api::well_known::FIELD_MANAGER
        );
        self.json(
            Method::PATCH,
            &path,
            "application/merge-patch+json",
            patch.to_string().into_bytes(),
        )
        .await
    }

    /// Deletes an object, if it still has that uid. That it is gone already is no error.
    ///
    /// # Errors
    /// 409 if the name belongs to another object by now.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &Key,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), Error> {
        let policy = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        };
        let mut options = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        if let Some(uid) = uid {
            options["preconditions"] = serde_json::json!({ "uid": uid });
        }
        let body = options.to_string().into_bytes();
        match self
            .raw(Method::DELETE, &resource.object(key), "application/json", body)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens a watch: the answer's body, once its headers are there.
    ///
    /// # Errors
    /// If the server refuses; 410 asks for a new list.
    pub async fn watch(&self, path: &str) -> Result<Body, Error> {
        self.permit()?;
        let request = Self::request(&Method::GET, path, "", Vec::new())?;
        let result = self.send(&Method::GET, path, request).await;
        self.breaker
            .record(result.as_ref().err().is_none_or(|e| !e.is_unreachable()));
        let response = result?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let retry_after = retry_after(response.headers());
        let body = tokio::time::timeout(self.timeout, Limited::new(response.into_body(), MAX_BODY).collect()).await;
        let body = body
            .ok()
            .and_then(Result::ok)
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Err(refusal(status.as_u16(), retry_after, &body))
    }
}

fn retry_after(headers: &http::HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

fn refusal(code: u16, retry_after: Option<u32>, body: &[u8]) -> Error {
    let mut status = serde_json::from_slice::<Status>(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
        Status::failure(
            code,
            "",
            if text.is_empty() {
                format!("the server answered {code}")
            } else {
                text
            },
        )
    });
    status.code = code;
    if let Some(seconds) = retry_after {
        status
            .details
            .get_or_insert_with(StatusDetails::default)
            .retry_after_seconds = seconds;
    }
    Error::Status(Box::new(status))
}

/// `text` as a query value: everything but unreserved characters is escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{DEPLOYMENTS, NODES};

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(
            DEPLOYMENTS.object(&Key::new(Some("a"), "b")),
            "/apis/apps/v1/namespaces/a/deployments/b"
        );
        assert_eq!(DEPLOYMENTS.collection(None), "/apis/apps/v1/deployments");
        assert_eq!(NODES.object(&Key::new(None, "n")), "/api/v1/nodes/n");
    }

    #[test]
    fn a_refusal_without_a_status_body_keeps_its_text_and_retry_after() {
        let error = refusal(429, Some(3), b"slow down\n");
        assert_eq!(error.to_string(), "slow down");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(error.code(), Some(429));
    }

    #[test]
    fn selectors_are_escaped_for_queries() {
        assert_eq!(escape("a/b in (c,d)"), "a%2Fb%20in%20%28c%2Cd%29");
    }
}
