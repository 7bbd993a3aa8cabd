//! One suite for all engines: whatever holds of one holds of all.
//!
//! etcd is tested when its binary is found in `$KUBEBUILDER_ASSETS`, `/usr/local/kubebuilder/bin` or on the `PATH`;
//! else that is printed.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod basics;
mod engines;
mod history;
mod properties;
