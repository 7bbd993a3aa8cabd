//! The query parameters of operations.

use serde_json::{Value, json};

/// Query parameters: name, type, meaning.
const PARAMETERS: &[(&str, &str, &str)] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "A watch may send events of type BOOKMARK, which carry a resource version and nothing else.",
    ),
    (
        "continue",
        "string",
        "Token of the previous chunk of a list; asks for the next one.",
    ),
    ("dryRun", "string", "All: do everything but store the result."),
    (
        "fieldManager",
        "string",
        "Name that the changed fields are recorded under, at most 128 printable characters.",
    ),
    ("fieldSelector", "string", "Only objects whose fields match."),
    (
        "fieldValidation",
        "string",
        "What to do with unknown and duplicate fields. Ignore: drop them. Warn: drop them and say so, the default. Strict: refuse the request.",
    ),
    ("force", "boolean", "Apply takes over fields that other managers own."),
    (
        "gracePeriodSeconds",
        "integer",
        "Seconds that the object may take to end; 0 means at once.",
    ),
    ("labelSelector", "string", "Only objects whose labels match."),
    (
        "limit",
        "integer",
        "Most objects to list at once; the rest is had by continue.",
    ),
    ("orphanDependents", "boolean", "Old form of propagationPolicy Orphan."),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents. Orphan: they stay. Background: they go afterwards. Foreground: they go first.",
    ),
    (
        "resourceVersion",
        "string",
        "Version that the answer is asked at; resourceVersionMatch says how exactly.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant: Exact or NotOlderThan.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "A watch starts with the objects that exist, and a bookmark tells where they end.",
    ),
    ("timeoutSeconds", "integer", "Longest time that the call may take."),
    ("watch", "boolean", "Watch for changes instead of listing."),
    ("pretty", "string", "Any value but false and 0 asks for indented JSON."),
];
/// Of creations and replacements.
pub(super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// Of patches.
pub(super) const APPLY: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
/// Of lists and watches.
pub(super) const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// Of deletions.
pub(super) const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
/// Of deletions of collections.
pub(super) const DELETE_ALL: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];

/// Parameters by their names.
pub(super) fn parameters(names: &[&str]) -> Vec<Value> {
    PARAMETERS
        .iter()
        .filter(|(name, _, _)| names.contains(name))
        .map(|(name, ty, text)| json!({"name": name, "in": "query", "description": text, "schema": {"type": ty, "uniqueItems": true}}))
        .collect()
}
