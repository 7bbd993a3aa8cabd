//! Cases: files of requests that are sent in order.
//!
//! A file is a sequence of
//!
//! ```text
//! === name of the request
//! METHOD /path?query
//! Header: value
//!
//! body
//! ```
//!
//! `${name/pointer}` stands for a value of an earlier answer's JSON, `${ns}` for the case's own
//! namespace, `${path}`, `${name}` and the like for the variables of the fixture. The body can be `@body NAME`, the answer of that
//! request, or `@fixture`, each followed by `@set /pointer JSON` and `@remove /pointer` lines;
//! `@protobuf` sends it in protobuf and `@yaml` as it stands. A file that begins with
//! `#each fixtures` is run once for every fixture.
//!
//! A header `Await: STATUS TEXT` is not sent: the request is, again and again, until the answer has that status and
//! contains that text (which can be left out). It belongs to answers that come only when a controller, or a cache of
//! access rules, has got that far.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A request of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Name, unique in its case.
    pub name: String,
    /// HTTP method.
    pub method: String,
    /// Path and query, not yet expanded.
    pub target: String,
    /// Headers, not yet expanded.
    pub headers: Vec<(String, String)>,
    /// Body, not yet expanded.
    pub body: String,
    /// The answer to wait for, if it does not come at once.
    pub awaited: Option<Awaited>,
}

/// What tells the answer that a request is repeated for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Its status code.
    pub status: u16,
    /// What its body contains, not yet expanded; empty if any will do.
    pub text: String,
}

impl Awaited {
    fn parse(value: &str) -> Result<Self> {
        let (status, text) = value.split_once(' ').unwrap_or((value, ""));
        let status = status
            .parse()
            .with_context(|| format!("{status} is no status to await"))?;
        Ok(Self {
            status,
            text: text.to_owned(),
        })
    }
}

/// Requests that are sent in order, with the variables they start from.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name of the case and of its golden file.
    pub name: String,
    /// What `${…}` without a slash stands for.
    pub variables: Vec<(String, String)>,
    /// The object that `@fixture` stands for.
    pub fixture: Option<Value>,
    /// The requests.
    pub requests: Vec<Request>,
}

/// An object, and where it is created.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// Name of its file.
    pub name: String,
    /// Path of its collection; `${ns}` stands for the namespace.
    pub path: String,
    /// The object, in the namespace `default` if it is in one.
    pub object: Value,
}

/// Reads every case below a folder, in the order of their names.
///
/// # Errors
/// A file that cannot be read, and a request without a method.
pub fn load(folder: &Path) -> Result<Vec<Case>> {
    let fixtures = fixtures(&folder.join("fixtures"))?;
    let mut cases = Vec::new();
    for path in files(&folder.join("cases"))? {
        let text = std::fs::read_to_string(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let requests = parse(&text).with_context(|| format!("case {name}"))?;
        if !text.starts_with("#each fixtures") {
            let variables = vec![("ns".to_owned(), name.clone())];
            cases.push(Case {
                name,
                variables,
                fixture: None,
                requests,
            });
            continue;
        }
        for fixture in &fixtures {
            cases.push(of_fixture(&name, fixture, &requests));
        }
    }
    Ok(cases)
}

/// Reads every object of a folder, in the order of their names.
///
/// # Errors
/// A file that cannot be read.
pub fn fixtures(folder: &Path) -> Result<Vec<Fixture>> {
    files(folder)?.into_iter().map(|path| fixture(&path)).collect()
}

fn of_fixture(template: &str, fixture: &Fixture, requests: &[Request]) -> Case {
    let name = format!("{template}-{}", fixture.name);
    let mut fixture = fixture.clone();
    fixture.path = fixture.path.replace("${ns}", &name);
    move_to(&mut fixture.object, &name);
    let text = |pointer: &str| {
        fixture
            .object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let variables = vec![
        ("ns".to_owned(), name.clone()),
        ("path".to_owned(), fixture.path.clone()),
        ("name".to_owned(), text("/metadata/name")),
        ("kind".to_owned(), text("/kind")),
        ("apiVersion".to_owned(), text("/apiVersion")),
    ];
    Case {
        name,
        variables,
        fixture: Some(fixture.object),
        requests: requests.to_vec(),
    }
}

/// Puts an object, and what it refers to, into a namespace instead of `default`.
fn move_to(value: &mut Value, name: &str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text) if key == "namespace" && text == "default" => name.clone_into(text),
                    other => move_to(other, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_to(item, name)),
        _ => {}
    }
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// A YAML object whose first line is a comment with the path of its collection.
fn fixture(path: &Path) -> Result<Fixture> {
    let text = std::fs::read_to_string(path)?;
    let collection = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .context("a fixture starts with its path")?;
    let object = apimachinery::schema::decode_yaml(text.as_bytes())
        .with_context(|| format!("fixture {}", path.display()))?
        .value;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Fixture {
        name,
        path: collection.to_owned(),
        object,
    })
}

/// Reads the requests of a file.
///
/// # Errors
/// A request without a method or with a header that is none.
pub fn parse(text: &str) -> Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    for block in text.split("\n=== ").skip(usize::from(!text.starts_with("=== "))) {
        let block = block.strip_prefix("=== ").unwrap_or(block);
        let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
        let mut lines = head.lines();
        let name = lines.next().unwrap_or_default().to_owned();
        let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
            bail!("{name}: no request line");
        };
        let (mut headers, mut awaited) = (Vec::new(), None);
        for line in lines {
            match line.split_once(": ").with_context(|| format!("{name}: {line}"))? {
                ("Await", value) => awaited = Some(Awaited::parse(value).with_context(|| name.clone())?),
                (header, value) => headers.push((header.to_owned(), value.to_owned())),
            }
        }
        if requests.iter().any(|request| request.name == name) {
            bail!("{name}: there twice");
        }
        requests.push(Request {
            name,
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: body.trim_end().to_owned(),
            awaited,
        });
    }
    Ok(requests)
}
