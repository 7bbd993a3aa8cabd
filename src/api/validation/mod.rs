//! Validation: same reasons, fields and texts as kube-apiserver.

pub(crate) mod labels;
pub(crate) mod names;
