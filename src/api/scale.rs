//! The table of `autoscaling/v1` Scale, which is a subresource and no kind of its own.

use apimachinery::Object;
use serde_json::Value;

use crate::{Column, json::int, printers};

/// Columns of the table.
pub const COLUMNS: &[Column] = &[
    Column::text("Name", "Name of the workload."),
    Column::integer("Desired", "How many replicas are wanted."),
    Column::integer("Available", "How many replicas there are."),
    Column::age(),
];

/// Cells of a Scale, one per column.
#[must_use]
pub fn row(scale: &Object, now: jiff::Timestamp) -> Vec<Value> {
    vec![
        printers::name(scale),
        int(&scale["spec"]["replicas"]).into(),
        int(&scale["status"]["replicas"]).into(),
        printers::age(scale, now),
    ]
}
