//! The odd table: every mutation of the objects in `odd/`, created for trial, and what becomes of it.
//!
//! Its golden files are short, a line a mutation: what the object was refused for, or that it was taken and how the
//! result differs from that of the unchanged object.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use serde_json::Value;

use crate::case::Fixture;
use crate::client::{Answer, Client};
use crate::mask;
use crate::mutate::{self, Mutation};
use crate::run::Recorded;

/// Namespace of the objects.
const NAMESPACE: &str = "default";
/// What a server that fails so badly that it answers nothing is written down as.
const NO_ANSWER: &str = "no answer";

/// Name of the case of a fixture, and of its golden file.
#[must_use]
pub fn case_name(fixture: &Fixture) -> String {
    format!("odd-{}", fixture.name)
}

/// Creates every mutation for trial.
pub async fn run(fixture: &Fixture, client: &Client) -> Vec<Recorded> {
    let unchanged = Mutation {
        name: "unchanged".to_owned(),
        object: fixture.object.clone(),
    };
    let base = attempt(fixture, &unchanged, client).await;
    let base = base.as_ref().map(object_of).unwrap_or_default();
    let mut recorded = Vec::new();
    for mutation in std::iter::once(unchanged).chain(mutate::mutations(&fixture.object)) {
        let text = match attempt(fixture, &mutation, client).await {
            Ok(answer) => describe(&answer, &base),
            Err(_) => NO_ANSWER.to_owned(),
        };
        recorded.push(Recorded {
            name: mutation.name,
            text,
        });
    }
    recorded
}

/// The answers that there is a recorded one to compare with for.
#[must_use]
pub fn comparable(wanted: &[Recorded], mut got: Vec<Recorded>) -> Vec<Recorded> {
    let silent: HashSet<&str> = wanted
        .iter()
        .filter(|one| one.text.trim_end() == NO_ANSWER)
        .map(|one| one.name.as_str())
        .collect();
    got.retain(|one| !silent.contains(one.name.as_str()));
    got
}

async fn attempt(fixture: &Fixture, mutation: &Mutation, client: &Client) -> Result<Answer> {
    let path = fixture.path.replace("${ns}", NAMESPACE);
    let target = format!("{path}?dryRun=All&fieldManager=wire");
    client
        .send("POST", &target, &[], mutation.object.to_string().into())
        .await
}

fn object_of(answer: &Answer) -> Value {
    let mut object = serde_json::from_slice(&answer.body).unwrap_or_default();
    mask::mask(&mut object);
    object
}

fn describe(answer: &Answer, base: &Value) -> String {
    let object = object_of(answer);
    let mut text = answer.status.as_u16().to_string();
    for warning in answer.headers.get_all("warning") {
        text.push_str(&format!("\nwarning: {}", String::from_utf8_lossy(warning.as_bytes())));
    }
    if object["kind"] == "Status" {
        text.push_str(&format!("\n{}", object["message"].as_str().unwrap_or_default()));
    } else {
        let (before, after) = (leaves(base), leaves(&object));
        let gone = before.keys().filter(|pointer| !after.contains_key(*pointer));
        gone.for_each(|pointer| text.push_str(&format!("\n-{pointer}")));
        let new = after
            .iter()
            .filter(|(pointer, value)| before.get(*pointer) != Some(value));
        new.for_each(|(pointer, value)| text.push_str(&format!("\n{pointer} {value}")));
    }
    shortened(&text)
}

/// Every scalar and empty value of an object, by its pointer.
fn leaves(object: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut open = vec![(String::new(), object)];
    while let Some((pointer, value)) = open.pop() {
        match value {
            Value::Object(map) if !map.is_empty() => {
                open.extend(map.iter().map(|(key, value)| (format!("{pointer}/{key}"), value)));
            }
            Value::Array(items) if !items.is_empty() => {
                let items = items.iter().enumerate();
                open.extend(items.map(|(at, value)| (format!("{pointer}/{at}"), value)));
            }
            leaf => drop(all.insert(pointer, leaf.clone())),
        }
    }
    all
}

/// Without what is only long: the overlong name of the mutations, and the examples after what a name must be like.
fn shortened(text: &str) -> String {
    let mut out = text.replace(&"a".repeat(300), "<long>");
    while let Some(start) = out.find(" (e.g. '") {
        let Some(length) = out[start..].find("')") else { break };
        out.replace_range(start..start + length + 2, "");
    }
    out
}
