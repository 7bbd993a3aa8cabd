//! The wire test: what kube-apiserver answers, and whether we answer the same.
//!
//! `cases/` holds requests, `golden/` what a real kube-apiserver answered to them, with what
//! differs from run to run (times, uids, resource versions) masked. Replaying sends the same
//! requests to a server and compares. `known.txt` lists the differences that are there for a
//! reason; a difference that is not listed fails, and so does a listed one that is gone.

pub mod case;
pub mod client;
pub mod golden;
pub mod mask;
pub mod mutate;
pub mod odd;
pub mod real;
pub mod run;
