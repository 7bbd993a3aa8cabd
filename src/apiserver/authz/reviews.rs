//! Answers to questions about access: the `authorization.k8s.io/v1` reviews.

use std::collections::BTreeMap;

use apimachinery::{Object, field, meta, status::Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Attributes, Authorizer, Decision, Resource, Target};
use crate::authn::UserInfo;

const GROUP: &str = "authorization.k8s.io";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<PathAttributes>,
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathAttributes {
    path: String,
    verb: String,
}

impl Spec {
    fn read(review: &Object) -> Result<Self, Status> {
        let spec = review.get("spec").filter(|spec| !spec.is_null());
        let spec = spec.map_or_else(|| Ok(Self::default()), Self::deserialize);
        spec.map_err(|error| Status::bad_request(format!("spec: {error}")))
    }

    fn user(&self) -> UserInfo {
        UserInfo {
            username: self.user.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone(),
            extra: self.extra.clone(),
        }
    }

    /// The one of the two kinds of attributes that is there.
    fn question(&self) -> Option<(&str, Target<'_>)> {
        match (&self.resource_attributes, &self.non_resource_attributes) {
            (Some(r), None) => {
                // `*` stands for all namespaces, groups and so on, which rules hold as the empty string or the star itself.
                let resource = Resource {
                    group: &r.group,
                    version: &r.version,
                    resource: &r.resource,
                    subresource: &r.subresource,
                    namespace: &r.namespace,
                    name: &r.name,
                };
                Some((&r.verb, Target::Resource(resource)))
            }
            (None, Some(p)) => Some((&p.verb, Target::Path(&p.path))),
            _ => None,
        }
    }

    fn decide(&self, authorizer: &dyn Authorizer, user: &UserInfo) -> Result<Decision, Status> {
        if let (Some(_), Some(path)) = (&self.resource_attributes, &self.non_resource_attributes) {
            let shown = json!({"Path": path.path, "Verb": path.verb});
            let detail = "cannot be specified in combination with resourceAttributes";
            return Err(invalid(field::invalid("spec.nonResourceAttributes", &shown, detail)));
        }
        let Some((verb, target)) = self.question() else {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(field::invalid("spec.resourceAttributes", &Value::Null, detail)));
        };
        Ok(authorizer.authorize(&Attributes { user, verb, target }))
    }

    fn about_somebody(&self) -> Result<(), Status> {
        if self.user.is_empty() && self.groups.is_empty() {
            let detail = "at least one of user or group must be specified";
            return Err(invalid(field::invalid("spec.user", &"".into(), detail)));
        }
        Ok(())
    }
}

fn invalid(error: field::FieldError) -> Status {
    // kube-apiserver leaves the kind out of these.
    field::to_status(GROUP, "", "", &vec![error])
}

fn answered(mut review: Object, decision: &Decision) -> Object {
    let mut status = json!({"allowed": decision.is_allowed()});
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    review["status"] = status;
    review
}

/// SelfSubjectAccessReview: whether the asking user may.
///
/// # Errors
/// 422 if it does not ask for exactly one thing.
pub fn self_subject_access(authorizer: &dyn Authorizer, user: &UserInfo, review: Object) -> Result<Object, Status> {
    let decision = Spec::read(&review)?.decide(authorizer, user)?;
    Ok(answered(review, &decision))
}

/// SubjectAccessReview: whether somebody may.
///
/// # Errors
/// 422 if it does not ask for exactly one thing, or names nobody.
pub fn subject_access(authorizer: &dyn Authorizer, review: Object) -> Result<Object, Status> {
    let spec = Spec::read(&review)?;
    if spec.question().is_some() {
        spec.about_somebody()?;
    }
    let decision = spec.decide(authorizer, &spec.user())?;
    Ok(answered(review, &decision))
}

/// LocalSubjectAccessReview: whether somebody may in the review's own namespace.
///
/// # Errors
/// 422 if it asks for something else than one resource in its namespace, or names nobody.
pub fn local_subject_access(
    authorizer: &dyn Authorizer,
    namespace: &str,
    mut review: Object,
) -> Result<Object, Status> {
    meta::set_namespace(&mut review, namespace);
    let spec = Spec::read(&review)?;
    spec.about_somebody()?;
    match &spec.resource_attributes {
        Some(attributes) if attributes.namespace != namespace => {
            let value = Value::from(attributes.namespace.as_str());
            let path = "spec.resourceAttributes.namespace";
            return Err(invalid(field::invalid(path, &value, "must match metadata.namespace")));
        }
        _ => {}
    }
    if spec.non_resource_attributes.is_some() {
        let detail = "disallowed on this kind of request";
        return Err(invalid(field::invalid(
            "spec.nonResourceAttributes",
            &Value::Null,
            detail,
        )));
    }
    let decision = spec.decide(authorizer, &spec.user())?;
    Ok(answered(review, &decision))
}

/// SelfSubjectRulesReview: everything the asking user may do in a namespace.
///
/// # Errors
/// 400 without a namespace.
pub fn self_subject_rules(authorizer: &dyn Authorizer, user: &UserInfo, mut review: Object) -> Result<Object, Status> {
    let namespace = review
        .pointer("/spec/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, errors) = authorizer.rules_for(user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
    review["metadata"] = json!({});
    review["spec"] = json!({});
    review["status"] = json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        "incomplete": !errors.is_empty(),
    });
    if !errors.is_empty() {
        review["status"]["evaluationError"] = errors.join(", ").into();
    }
    Ok(review)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{AlwaysAllow, Union};

    fn bob() -> UserInfo {
        UserInfo {
            username: "bob".into(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn the_answer_is_in_the_status() {
        let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
        let allowed = self_subject_access(&AlwaysAllow, &bob(), review.clone()).unwrap();
        assert_eq!(allowed["status"], json!({"allowed": true}));
        let refused = self_subject_access(&Union::default(), &bob(), review).unwrap();
        assert_eq!(refused["status"], json!({"allowed": false}));
    }

    #[test]
    fn malformed_questions_are_refused_as_kube_apiserver_does() {
        let empty = self_subject_access(&AlwaysAllow, &bob(), json!({"spec": {}})).unwrap_err();
        assert_eq!(
            empty.message,
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
             nonResourceAttributes or resourceAttributes must be specified"
        );
        let nobody = json!({"spec": {"resourceAttributes": {"verb": "get"}}});
        assert!(
            subject_access(&AlwaysAllow, nobody)
                .unwrap_err()
                .message
                .contains("at least one of user or group")
        );
        let other = json!({"spec": {"user": "a", "resourceAttributes": {"namespace": "other"}}});
        let refused = local_subject_access(&AlwaysAllow, "default", other).unwrap_err();
        assert!(
            refused
                .message
                .ends_with("Invalid value: \"other\": must match metadata.namespace")
        );
        assert_eq!(
            self_subject_rules(&AlwaysAllow, &bob(), json!({})).unwrap_err().message,
            "no namespace on request"
        );
    }

    #[test]
    fn rules_are_told_apart_by_kind() {
        let review = json!({"spec": {"namespace": "default"}});
        let status = self_subject_rules(&AlwaysAllow, &bob(), review).unwrap()["status"].take();
        assert_eq!(
            status["resourceRules"],
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
        );
        assert_eq!(
            status["nonResourceRules"],
            json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}])
        );
        assert_eq!(status["incomplete"], false);
    }
}
