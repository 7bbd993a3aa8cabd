//! Content negotiation: in which format, and in which shape, an answer goes out.

use apimachinery::status::{Status, StatusDetails};

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What objects are turned into on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    None,
    /// `meta.k8s.io` Table in this version.
    Table(&'static str),
    /// `meta.k8s.io` PartialObjectMetadata, or its List, in this version.
    Metadata(&'static str),
}

/// What the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Bytes.
    pub format: Format,
    /// Shape.
    pub transform: Transform,
    /// Whether JSON is indented.
    pub pretty: bool,
}

/// What an endpoint can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// One object: itself, a table, its metadata.
    Object,
    /// A list.
    List,
    /// A watch: no YAML.
    Watch,
    /// Only the formats.
    Plain,
}

struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    quality: f32,
    params: Vec<(&'a str, &'a str)>,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = accept
        .split(',')
        .filter_map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let media = pieces.next().filter(|m| !m.is_empty())?;
            let (main, sub) = match media.split_once('/') {
                Some((main, sub)) => (main.trim(), sub.trim()),
                None if media == "*" => ("*", "*"),
                None => return None,
            };
            let params: Vec<_> = pieces.filter_map(|p| p.split_once('=')).collect();
            let quality = params
                .iter()
                .find(|(k, _)| *k == "q")
                .and_then(|(_, v)| v.parse().ok())
                .unwrap_or(1.0);
            Some(Clause {
                main,
                sub,
                quality,
                params,
            })
        })
        .collect();
    let specificity = |c: &Clause<'_>| (c.main != "*") as u8 + (c.sub != "*") as u8;
    all.sort_by(|a, b| {
        b.quality
            .partial_cmp(&a.quality)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| specificity(b).cmp(&specificity(a)))
    });
    all
}

fn format_of(clause: &Clause<'_>, offer: Offer) -> Option<Format> {
    match (clause.main, clause.sub) {
        ("*", "*") | ("application", "json") => Some(Format::Json),
        ("application", "yaml") if offer != Offer::Watch => Some(Format::Yaml),
        ("application", "vnd.kubernetes.protobuf") => Some(Format::Protobuf),
        _ => None,
    }
}

fn version_of(text: Option<&str>) -> Option<&'static str> {
    match text {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    }
}

fn transform_of(clause: &Clause<'_>, offer: Offer) -> Option<Transform> {
    let param = |name: &str| clause.params.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    let Some(shape) = param("as") else {
        return Some(Transform::None);
    };
    if param("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = version_of(param("v"))?;
    match (shape, offer) {
        ("Table", Offer::Object | Offer::List | Offer::Watch) => Some(Transform::Table(version)),
        ("PartialObjectMetadata", Offer::Object | Offer::Watch) | ("PartialObjectMetadataList", Offer::List) => {
            Some(Transform::Metadata(version))
        }
        _ => None,
    }
}

/// Picks the best of what the client accepts.
///
/// # Errors
/// 406 if there is none.
pub fn negotiate(accept: &str, offer: Offer, pretty: bool) -> Result<Accepted, Status> {
    if accept.trim().is_empty() {
        return Ok(Accepted {
            format: Format::Json,
            transform: Transform::None,
            pretty,
        });
    }
    for clause in clauses(accept) {
        let Some(format) = format_of(&clause, offer) else {
            continue;
        };
        // The shape's own parameters count only where there is something to shape.
        let Some(transform) = transform_of(&clause, offer) else {
            continue;
        };
        // A table has no protobuf form.
        if format == Format::Protobuf && matches!(transform, Transform::Table(_)) {
            continue;
        }
        return Ok(Accepted {
            format,
            transform,
            pretty,
        });
    }
    // A type that no object is ever written in is refused by the router, before there is a handler to say what it has.
    let known = clauses(accept)
        .iter()
        .any(|clause| format_of(clause, Offer::Plain).is_some());
    if known {
        Err(not_acceptable(offer))
    } else {
        Err(not_routable())
    }
}

fn not_routable() -> Status {
    let text = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    Status::failure(406, "NotAcceptable", text).with_details(StatusDetails::default())
}

fn not_acceptable(offer: Offer) -> Status {
    let formats = if offer == Offer::Watch {
        "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    };
    Status::failure(
        406,
        "NotAcceptable",
        format!("only the following media types are accepted: {formats}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(accept: &str, offer: Offer) -> Option<(Format, Transform)> {
        negotiate(accept, offer, false).ok().map(|a| (a.format, a.transform))
    }

    #[test]
    fn kubectl_gets_a_table_and_falls_back_to_json() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(pick(accept, Offer::List), Some((Format::Json, Transform::Table("v1"))));
        assert_eq!(pick(accept, Offer::Plain), Some((Format::Json, Transform::None)));
    }

    #[test]
    fn the_first_of_equals_and_the_heavier_weight_win() {
        let accept = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(pick(accept, Offer::Object), Some((Format::Protobuf, Transform::None)));
        assert_eq!(
            pick("application/yaml;q=0.5,application/json;q=0.4", Offer::Object)
                .unwrap()
                .0,
            Format::Yaml
        );
        assert_eq!(pick("*/*", Offer::Object).unwrap().0, Format::Json);
        assert_eq!(pick("", Offer::Object).unwrap().0, Format::Json);
    }

    #[test]
    fn nothing_acceptable_is_406() {
        assert_eq!(negotiate("text/html", Offer::Object, false).unwrap_err().code, 406);
        assert_eq!(
            negotiate("application/yaml", Offer::Watch, false).unwrap_err().code,
            406
        );
        assert_eq!(
            negotiate("application/json;as=Table;v=v9;g=meta.k8s.io", Offer::List, false)
                .unwrap_err()
                .code,
            406
        );
    }
}
