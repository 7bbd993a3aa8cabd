//! Reviews: questions that are answered and not stored.

use crate::kind::KindDef;

const AUTHENTICATION: KindDef = KindDef {
    group: "authentication.k8s.io",
    verbs: &["create"],
    ..KindDef::CLUSTER_SCOPED
};
const AUTHORIZATION: KindDef = KindDef {
    group: "authorization.k8s.io",
    verbs: &["create"],
    ..KindDef::CLUSTER_SCOPED
};

/// SelfSubjectReview in `authentication.k8s.io/v1`: who am I.
pub const SELF_SUBJECT: KindDef = KindDef {
    kind: "SelfSubjectReview",
    resource: "selfsubjectreviews",
    singular: "selfsubjectreview",
    type_name: "io.k8s.api.authentication.v1.SelfSubjectReview",
    ..AUTHENTICATION
};

/// TokenReview in `authentication.k8s.io/v1`: whose is this token.
pub const TOKEN: KindDef = KindDef {
    kind: "TokenReview",
    resource: "tokenreviews",
    singular: "tokenreview",
    type_name: "io.k8s.api.authentication.v1.TokenReview",
    ..AUTHENTICATION
};

/// LocalSubjectAccessReview in `authorization.k8s.io/v1`: may somebody do this in this namespace.
pub const LOCAL_SUBJECT_ACCESS: KindDef = KindDef {
    kind: "LocalSubjectAccessReview",
    resource: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    type_name: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    namespaced: true,
    ..AUTHORIZATION
};

/// SelfSubjectAccessReview in `authorization.k8s.io/v1`: may I do this.
pub const SELF_SUBJECT_ACCESS: KindDef = KindDef {
    kind: "SelfSubjectAccessReview",
    resource: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    type_name: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    ..AUTHORIZATION
};

/// SelfSubjectRulesReview in `authorization.k8s.io/v1`: what may I do.
pub const SELF_SUBJECT_RULES: KindDef = KindDef {
    kind: "SelfSubjectRulesReview",
    resource: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    type_name: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    ..AUTHORIZATION
};

/// SubjectAccessReview in `authorization.k8s.io/v1`: may somebody do this.
pub const SUBJECT_ACCESS: KindDef = KindDef {
    kind: "SubjectAccessReview",
    resource: "subjectaccessreviews",
    singular: "subjectaccessreview",
    type_name: "io.k8s.api.authorization.v1.SubjectAccessReview",
    ..AUTHORIZATION
};
