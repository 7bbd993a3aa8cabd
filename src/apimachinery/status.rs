//! The `Status` object: how every error reaches a client.
//!
//! One constructor per reason, with the texts of kube-apiserver, so that clients which read
//! messages (and people who search for them) find what they know.

use serde::{Deserialize, Serialize};

use crate::text::go_quote;

/// `resource.group`, or `resource` alone in the core group: how kube's texts name a resource or kind.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// `metav1.Status`: the body of every error answer, and of some deletions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    pub kind: String,
    /// Always `v1`.
    pub api_version: String,
    /// List metadata; empty for errors.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// What happened, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machine-readable reason; empty means unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    /// HTTP status code; 0 is left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// What a [`Status`] is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind or resource of the object, as kube-apiserver fills it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The single causes, for example one per invalid field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again, in seconds; 0 is left out.
    #[serde(default, skip_serializing_if = "is_zero32")]
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// Machine-readable reason, such as `FieldValueInvalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, as a path such as `spec.replicas`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(code: &u16) -> bool {
    *code == 0
}

fn is_zero32(seconds: &u32) -> bool {
    *seconds == 0
}

impl Status {
    /// A failure with a code, a reason and a message.
    #[must_use]
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: serde_json::Map::new(),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    /// A success with a message; what a finished deletion or eviction answers.
    #[must_use]
    pub fn success(code: u16) -> Self {
        Self {
            status: "Success".into(),
            ..Self::failure(code, "", "")
        }
    }

    fn about(code: u16, reason: &str, group: &str, resource: &str, name: &str, message: String) -> Self {
        Self::failure(code, reason, message).with_details(StatusDetails {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            ..StatusDetails::default()
        })
    }

    /// 404 of an object that is not there.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), go_quote(name));
        Self::about(404, "NotFound", group, resource, name, message)
    }

    /// 404 of a path that names no served resource: kube answers it for an unknown resource of a known group.
    #[must_use]
    pub fn unknown_resource() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(StatusDetails::default())
    }

    /// 409 of a create whose name is taken.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), go_quote(name));
        Self::about(409, "AlreadyExists", group, resource, name, message)
    }

    /// 409 of a create whose generated names were all taken; the client may try again after a second.
    #[must_use]
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            go_quote(name)
        );
        Self::about(409, "AlreadyExists", group, resource, name, message).with_retry_after(1)
    }

    /// 409 of a write that cannot be done on the object as it is; `why` ends the message.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            go_quote(name)
        );
        Self::about(409, "Conflict", group, resource, name, message)
    }

    /// 409 of a write that carried a resourceVersion which is no longer the object's.
    #[must_use]
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of a write whose uid precondition failed.
    #[must_use]
    pub fn uid_mismatch(group: &str, resource: &str, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        Self::conflict(group, resource, name, &why)
    }

    /// 409 of a server-side apply that would change fields of other managers; one cause per field.
    #[must_use]
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<StatusCause>) -> Self {
        Self::failure(409, "Conflict", message).with_details(StatusDetails {
            causes,
            ..StatusDetails::default()
        })
    }

    /// 422 with one cause per invalid field; `kind` is the kind, not the resource. The texts are [`crate::field`]'s.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &crate::field::ErrorList) -> Self {
        crate::field::to_status(group, kind, name, errors)
    }

    /// 422 of a patch that is well formed but cannot be carried out.
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::failure(422, "Invalid", message).with_details(StatusDetails::default())
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401, with kube's only text.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403 about an object, a collection (empty name) or, with an empty resource, no resource at all.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(group, resource)),
            (false, false) => format!("{} {} is forbidden: {why}", qualified(group, resource), go_quote(name)),
        };
        Self::about(403, "Forbidden", group, resource, name, message)
    }

    /// 405 of a verb that the resource does not have; `action` as `create`.
    #[must_use]
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message = format!(
            "{action} is not supported on resources of kind {}",
            go_quote(&qualified(group, resource))
        );
        Self::about(405, "MethodNotAllowed", group, resource, "", message)
    }

    /// 405 of an HTTP method that the path does not have.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(StatusDetails::default())
    }

    /// 406: none of the media types the client accepts can be produced.
    #[must_use]
    pub fn not_acceptable(offered: &[&str]) -> Self {
        Self::failure(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", offered.join(", ")),
        )
    }

    /// 415: the body is of a media type that is not understood.
    #[must_use]
    pub fn unsupported_media_type(offered: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            offered.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 410 of a resourceVersion or continue token that is compacted away.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410 of something that will not come back.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// 413 of a body over the server's limit of bytes.
    #[must_use]
    pub fn request_entity_too_large(message: &str) -> Self {
        Self::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {message}"),
        )
    }

    /// 429, to be tried again after so many seconds.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message)
            .with_details(StatusDetails::default())
            .with_retry_after(retry_after_seconds)
    }

    /// 500 with the cause in words.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        Self::failure(500, "InternalError", format!("Internal error occurred: {cause}")).with_details(StatusDetails {
            causes: vec![StatusCause {
                message: cause,
                ..StatusCause::default()
            }],
            ..StatusDetails::default()
        })
    }

    /// 500 of an operation the server could not finish now, as a name generator that found no free name.
    #[must_use]
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::about(500, "ServerTimeout", group, resource, operation, message).with_retry_after(retry_after_seconds)
    }

    /// 503 of a server that is starting, stopping or without its storage.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 504 of a request that took too long; 0 seconds means no hint when to retry.
    #[must_use]
    pub fn timeout(message: &str, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}"))
            .with_details(StatusDetails::default())
            .with_retry_after(retry_after_seconds)
    }

    /// 504 of a read at a resourceVersion that the server has not reached yet.
    #[must_use]
    pub fn resource_version_too_large(wanted: u64, current: u64) -> Self {
        let mut status = Self::timeout(&format!("Too large resource version: {wanted}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            details.causes.push(StatusCause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                ..StatusCause::default()
            });
        }
        status
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// The body as JSON.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(details);
        self
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_objects_name_resource_group_and_object() {
        let cases = [
            (
                Status::not_found("", "configmaps", "x"),
                404,
                "NotFound",
                "configmaps \"x\" not found",
            ),
            (
                Status::not_found("apps", "deployments", "x"),
                404,
                "NotFound",
                "deployments.apps \"x\" not found",
            ),
            (
                Status::already_exists("", "configmaps", "x"),
                409,
                "AlreadyExists",
                "configmaps \"x\" already exists",
            ),
            (
                Status::modified("", "configmaps", "x"),
                409,
                "Conflict",
                "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again",
            ),
            (
                Status::forbidden("", "configmaps", "x", "no"),
                403,
                "Forbidden",
                "configmaps \"x\" is forbidden: no",
            ),
            (
                Status::forbidden("apps", "deployments", "", "no"),
                403,
                "Forbidden",
                "deployments.apps is forbidden: no",
            ),
            (Status::forbidden("", "", "", "no"), 403, "Forbidden", "forbidden: no"),
            (
                Status::method_not_supported("", "nodes", "create"),
                405,
                "MethodNotAllowed",
                "create is not supported on resources of kind \"nodes\"",
            ),
            (Status::timeout("late", 0), 504, "Timeout", "Timeout: late"),
            (
                Status::internal("boom"),
                500,
                "InternalError",
                "Internal error occurred: boom",
            ),
        ];
        for (status, code, reason, message) in cases {
            assert_eq!(
                (status.code, status.reason.as_str(), status.message.as_str()),
                (code, reason, message)
            );
        }
    }

    #[test]
    fn the_body_leaves_out_what_is_empty_and_keeps_metadata() {
        assert_eq!(
            Status::not_found("", "configmaps", "x").to_value().to_string(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"configmaps"},"code":404}"#
        );
        assert_eq!(
            Status::bad_request("no").to_value().to_string(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"BadRequest","code":400}"#
        );
    }

    #[test]
    fn a_future_resource_version_names_its_cause_and_when_to_retry() {
        let status = Status::resource_version_too_large(9, 5);
        let details = status.details.unwrap();
        assert_eq!(status.message, "Timeout: Too large resource version: 9, current: 5");
        assert_eq!(details.causes[0].reason, "ResourceVersionTooLarge");
        assert_eq!(details.retry_after_seconds, 1);
    }
}
