//! Field selectors: `metadata.name=x,status.phase!=Running`.

use std::{fmt, str::FromStr};

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// The field, as `metadata.name`.
    pub field: String,
    /// Whether the field must have the value (`=`, `==`) or must not (`!=`).
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

/// Conditions that must all hold. Without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

/// Why a field selector is not one, with kube's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term.
        term: String,
    },
    /// A backslash before something that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A comma or equals sign in a value that is not escaped, by its code point.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
}

impl FieldSelector {
    /// Reads the query parameter `fieldSelector`.
    ///
    /// # Errors
    /// When the text is no selector.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        text.parse()
    }

    /// Selects one object by name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let requirement = FieldRequirement {
            field: "metadata.name".into(),
            equal: true,
            value: name.into(),
        };
        Self {
            requirements: vec![requirement],
        }
    }

    /// The conditions.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must have, if the selector demands one.
    #[must_use]
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|r| r.equal && r.field == field)
            .map(|r| r.value.as_str())
    }

    /// Whether fields, given by look-up, are selected; a field that is not there is the empty text.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|r| (lookup(&r.field).unwrap_or("") == r.value) == r.equal)
    }
}

/// Splits at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found.sort_unstable();
    found.retain(|term| !term.is_empty());
    found
}

/// Splits a term at its first operator: field, whether it is an equality, value.
fn split(term: &str) -> Option<(&str, bool, &str)> {
    let at = term
        .char_indices()
        .map(|(i, _)| i)
        .find(|&i| term[i..].starts_with('=') || term[i..].starts_with("!="))?;
    let (field, rest) = term.split_at(at);
    match rest.strip_prefix("!=") {
        Some(value) => Some((field, false, value)),
        None => Some((
            field,
            true,
            rest.strip_prefix("==")
                .or_else(|| rest.strip_prefix('='))
                .unwrap_or(rest),
        )),
    }
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => return Err(FieldSelectorError::Escape(std::iter::once('\\').chain(other).collect())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

impl FromStr for FieldSelector {
    type Err = FieldSelectorError;

    fn from_str(text: &str) -> Result<Self, FieldSelectorError> {
        let requirement = |term: &str| {
            let not_understood = || FieldSelectorError::Term {
                selector: text.to_owned(),
                term: term.to_owned(),
            };
            let (field, equal, value) = split(term).ok_or_else(not_understood)?;
            let value = unescape(value)?;
            // A term that names no field and no value selects everything.
            let empty = field.is_empty() && value.is_empty();
            Ok((!empty).then(|| FieldRequirement {
                field: field.to_owned(),
                equal,
                value,
            }))
        };
        let found: Vec<_> = terms(text).into_iter().map(requirement).collect::<Result<_, _>>()?;
        Ok(Self {
            requirements: found.into_iter().flatten().collect(),
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if r.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", r.field, escape(&r.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, bool, String)> {
        let selector = FieldSelector::parse(text).unwrap();
        selector
            .requirements()
            .iter()
            .map(|r| (r.field.clone(), r.equal, r.value.clone()))
            .collect()
    }

    #[test]
    fn terms_are_split_at_the_first_operator() {
        for (text, field, equal, value) in [
            ("metadata.name=x", "metadata.name", true, "x"),
            ("metadata.name==x", "metadata.name", true, "x"),
            ("metadata.name!=x", "metadata.name", false, "x"),
            ("a=", "a", true, ""),
            ("=x", "", true, "x"),
            (r"a=\,\=\\", "a", true, r",=\"),
            ("é=ü", "é", true, "ü"),
        ] {
            assert_eq!(parsed(text), [(field.to_owned(), equal, value.to_owned())], "{text}");
        }
        assert_eq!(
            parsed("b=1,,a=2").iter().map(|r| r.0.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(parsed(""), []);
        assert_eq!(parsed("="), []);
    }

    #[test]
    fn errors_have_kubes_words() {
        for (text, message) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=\\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn absent_fields_are_empty() {
        let selector = FieldSelector::parse("status.phase!=Running,spec.nodeName=").unwrap();
        assert!(selector.matches(|_| None));
        assert!(!selector.matches(|field| (field == "spec.nodeName").then_some("n1")));
        assert_eq!(FieldSelector::of_name("x").required_value("metadata.name"), Some("x"));
        assert_eq!(selector.required_value("status.phase"), None);
    }

    #[test]
    fn printing_escapes() {
        let text = r"a=\,\=\\";
        assert_eq!(FieldSelector::parse(text).unwrap().to_string(), text);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_printing_reads_back(text in "[a-c=!,\\\\ é]{0,12}") {
            if let Ok(selector) = FieldSelector::parse(&text) {
                proptest::prop_assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
            }
        }
    }
}
