//! The kinds a federation and its members serve, as data and pure functions.
//!
//! A [`KindDef`] says everything the generic apiserver needs to serve a kind: names, scope,
//! subresources, defaulting, validation, what a status may change, and the columns of its table.
//! A kind is added in one place: its module under [`kinds`].

pub mod admission;
pub mod cluster_selector;
mod defaults;
mod json;
pub mod kind;
pub mod kinds;
pub mod overrides;
pub mod preferences;
mod printers;
pub mod scale;
mod strategy;
mod validation;
mod warnings;
pub mod well_known;

pub use kind::{Column, Conversion, KindDef, Profile, Strategy, Subresource};
