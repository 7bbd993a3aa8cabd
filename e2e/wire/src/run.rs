//! Sends the requests of a case and writes down the answers.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::Value;

use crate::case::{Case, Request};
use crate::client::{Answer, Client};
use crate::mask;

/// Headers that clients act upon.
const HEADERS: [&str; 6] = [
    "content-type",
    "warning",
    "retry-after",
    "location",
    "allow",
    "www-authenticate",
];

/// How long an awaited answer may take, and how often it is asked for. What comes then is written down.
const AWAIT: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(50);

/// An answer as golden files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Name of the request.
    pub name: String,
    /// Status, headers and masked body.
    pub text: String,
}

/// Sends a case's requests in order.
///
/// # Errors
/// If the case's namespace cannot be asked for. A request without an answer is written down as such.
pub async fn run(case: &Case, client: &Client) -> Result<Vec<Recorded>> {
    let mut state = State {
        case,
        answers: HashMap::new(),
    };
    let namespace = state.expand(r#"{"metadata":{"name":"${ns}"}}"#)?;
    client.send("POST", "/api/v1/namespaces", &[], namespace.into()).await?;
    let mut recorded = Vec::new();
    for request in &case.requests {
        let (text, value) = match state.send(request, client).await {
            Ok(answer) => (
                describe(&answer),
                serde_json::from_slice(&answer.body).unwrap_or(Value::Null),
            ),
            Err(error) => (format!("{error:#}"), Value::Null),
        };
        recorded.push(Recorded {
            name: request.name.clone(),
            text,
        });
        state.answers.insert(request.name.clone(), value);
    }
    Ok(recorded)
}

struct State<'a> {
    case: &'a Case,
    answers: HashMap<String, Value>,
}

impl State<'_> {
    async fn send(&self, request: &Request, client: &Client) -> Result<Answer> {
        let target = self.expand(&request.target)?;
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.expand(value)?)))
            .collect::<Result<Vec<_>>>()?;
        let body = self.body(&request.body)?;
        let awaited = match &request.awaited {
            Some(awaited) => Some((awaited.status, self.expand(&awaited.text)?)),
            None => None,
        };
        let start = std::time::Instant::now();
        loop {
            let answer = client.send(&request.method, &target, &headers, body.clone()).await?;
            let has_come = awaited.as_ref().is_none_or(|(status, text)| {
                answer.status == *status && String::from_utf8_lossy(&answer.body).contains(text)
            });
            if has_come || start.elapsed() > AWAIT {
                return Ok(answer);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Replaces every `${…}`.
    fn expand(&self, text: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').context("${ without }")?;
            out.push_str(before);
            out.push_str(&self.lookup(name)?);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn lookup(&self, name: &str) -> Result<String> {
        if let Some((_, value)) = self.case.variables.iter().find(|(known, _)| known == name) {
            return Ok(value.clone());
        }
        let (request, pointer) = name.split_at(name.find('/').with_context(|| format!("unknown variable {name}"))?);
        let answer = self
            .answers
            .get(request)
            .with_context(|| format!("no answer to {request}"))?;
        Ok(match answer.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            // The server under test may answer less; the answer to come will tell.
            None => "missing".to_owned(),
        })
    }

    fn body(&self, text: &str) -> Result<Bytes> {
        let mut lines = text.lines();
        let mut object = match lines.next().unwrap_or_default() {
            "@fixture" => self.case.fixture.clone().context("no fixture")?,
            first => match first.strip_prefix("@body ") {
                Some(name) => self
                    .answers
                    .get(name)
                    .cloned()
                    .with_context(|| format!("no answer to {name}"))?,
                None if first == "@protobuf" => {
                    let json = self.expand(&lines.collect::<Vec<_>>().join("\n"))?;
                    return Ok(apimachinery::protobuf::encode(&serde_json::from_str(&json)?)?.into());
                }
                None => return Ok(self.expand(text)?.into()),
            },
        };
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("@set"), Some(pointer), Some(json)) => {
                    set(&mut object, pointer, serde_json::from_str(&self.expand(json)?)?)
                }
                (Some("@remove"), Some(pointer), None) => remove(&mut object, pointer),
                (Some("@protobuf"), None, None) => return Ok(apimachinery::protobuf::encode(&object)?.into()),
                _ => bail!("cannot read {line}"),
            }
        }
        Ok(object.to_string().into())
    }
}

fn split(pointer: &str) -> (&str, String) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    (parent, key.replace("~1", "/").replace("~0", "~"))
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = split(pointer);
    if !parent.is_empty() && object.pointer(parent).is_none() {
        set(object, parent, Value::Object(serde_json::Map::new()));
    }
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
        }
        Some(Value::Array(items)) => {
            if let Some(item) = key.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
                *item = value;
            }
        }
        _ => {}
    }
}

fn remove(object: &mut Value, pointer: &str) {
    let (parent, key) = split(pointer);
    if let Some(Value::Object(map)) = object.pointer_mut(parent) {
        map.shift_remove(&key);
    }
}

/// YAML is compared by what it says and by the order of its keys, not by how it is laid out.
fn yaml(answer: &Answer) -> Option<String> {
    let media_type = answer.headers.get("content-type")?.to_str().ok()?;
    let raw = media_type
        .starts_with("application/yaml")
        .then(|| apimachinery::schema::decode_yaml(&answer.body).ok())
        .flatten()?;
    raw.value.is_object().then(|| format!("yaml of {}", masked(raw.value)))
}

fn describe(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.status.as_u16());
    for name in HEADERS {
        for value in answer.headers.get_all(name) {
            text.push_str(&format!(
                "{name}: {}\n",
                mask::mask_text(&String::from_utf8_lossy(value.as_bytes()))
            ));
        }
    }
    text.push('\n');
    text.push_str(&yaml(answer).unwrap_or_else(|| body_text(&answer.body)));
    text
}

fn body_text(body: &[u8]) -> String {
    if let Some(object) = body
        .starts_with(&apimachinery::protobuf::MAGIC)
        .then(|| apimachinery::protobuf::decode(body).ok())
        .flatten()
    {
        return format!("protobuf of {}", masked(object));
    }
    let text = String::from_utf8_lossy(body);
    let mut out = String::new();
    // A watch is a JSON document a line.
    for line in text.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value.is_object() || value.is_array() => out.push_str(&masked(value)),
            _ => match serde_json::from_slice::<Value>(body) {
                Ok(value) if value.is_object() => return format!("indented {}", masked(value)),
                _ => out.push_str(&format!("{}\n", mask::mask_text(line))),
            },
        }
    }
    out
}

fn masked(mut value: Value) -> String {
    let generated = mask::generated(&value);
    mask::mask(&mut value);
    let text = format!("{value}\n");
    generated.map_or(text.clone(), |name| text.replace(&name, "<generated>"))
}
