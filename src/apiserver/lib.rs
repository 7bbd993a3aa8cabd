//! A generic Kubernetes API server library.

pub mod authn;
pub mod authz;
pub mod pki;

pub mod openapi;
