//! A generic Kubernetes API server library.
