//! The controllers against our own apiservers: a federation and two members in this process, over real sockets.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod half_open;
mod journey;
mod support;
