//! Defaults of parts that several kinds have.

pub(crate) mod container;
pub(crate) mod pod_spec;
pub(crate) mod volume;
