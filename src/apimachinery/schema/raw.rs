//! Reading the bytes of a body: JSON or YAML into a value, with the duplicate fields noted.
//!
//! A plain JSON parser keeps the last of two equal keys and says nothing; clients that ask for
//! strict decoding must hear of it.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::text::go_quote;

/// Values of a document. A body of 3 MiB could have a million, of which each takes as much memory as dozens of bytes
/// of a body; what people write has some thousand.
pub(crate) const MAX_VALUES: usize = 100_000;
/// Objects in the lists of a document: each can grow much by what it has by default, and by what is wrong with it.
pub(crate) const MAX_LISTED: usize = 12_000;
/// Bytes of text in a document. YAML can say the same text again and again in a few bytes.
const MAX_TEXT: usize = 8 * 1024 * 1024;

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The document.
    pub value: Value,
    /// Paths of keys that stood there more than once, in the order of the document.
    pub duplicates: Vec<String>,
}

/// A body that is neither JSON nor YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// Not JSON; the text is the one kube-apiserver uses.
    #[error("{0}")]
    Json(String),
    /// Not YAML.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
}

/// Decodes JSON.
///
/// # Errors
/// [`RawError::Json`] if the bytes are not one JSON document or nest too deeply.
pub fn decode_json(bytes: &[u8]) -> Result<Raw, RawError> {
    let notes = Notes::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&notes)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(value) => Ok(Raw {
            value,
            duplicates: notes.duplicates.into_inner(),
        }),
        Err(error) => Err(RawError::Json(syntax_error(bytes).unwrap_or_else(|| error.to_string()))),
    }
}

/// Decodes YAML (the first document), of which JSON is a part.
///
/// # Errors
/// [`RawError::Yaml`] if the bytes are not YAML.
pub fn decode_yaml(bytes: &[u8]) -> Result<Raw, RawError> {
    let text = std::str::from_utf8(bytes).map_err(|error| RawError::Yaml(error.to_string()))?;
    let notes = Notes::default();
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
    let value =
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| Seed(&notes).deserialize(reader));
    match value {
        Ok(value) => Ok(Raw {
            value,
            duplicates: notes.duplicates.into_inner(),
        }),
        Err(error) => Err(RawError::Yaml(error.to_string())),
    }
}

#[derive(Default)]
struct Notes {
    path: RefCell<String>,
    duplicates: RefCell<Vec<String>>,
    values: Cell<usize>,
    listed: Cell<usize>,
    text: Cell<usize>,
}

impl Notes {
    /// Counts a value with so many bytes of text.
    fn value<E: serde::de::Error>(&self, text: usize) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        self.text.set(self.text.get() + text);
        if self.values.get() > MAX_VALUES {
            return Err(E::custom(format_args!(
                "the document has more than {MAX_VALUES} values"
            )));
        }
        if self.text.get() > MAX_TEXT {
            return Err(E::custom(format_args!(
                "the document has more than {MAX_TEXT} bytes of text"
            )));
        }
        Ok(())
    }

    fn listed<E: serde::de::Error>(&self, item: &Value) -> Result<(), E> {
        self.listed.set(self.listed.get() + usize::from(item.is_object()));
        if self.listed.get() > MAX_LISTED {
            return Err(E::custom(format_args!(
                "the document has more than {MAX_LISTED} objects in lists"
            )));
        }
        Ok(())
    }

    fn within<T>(&self, step: fmt::Arguments<'_>, read: impl FnOnce() -> T) -> T {
        let length = self.path.borrow().len();
        let _ = fmt::Write::write_fmt(&mut *self.path.borrow_mut(), step);
        let result = read();
        self.path.borrow_mut().truncate(length);
        result
    }

    fn duplicate(&self, key: &str) {
        let path = self.path.borrow();
        let path = format!("{path}.{key}");
        let path = path.strip_prefix('.').unwrap_or(&path).to_owned();
        let mut duplicates = self.duplicates.borrow_mut();
        if duplicates.len() < 100 && !duplicates.contains(&path) {
            duplicates.push(path);
        }
    }
}

struct Seed<'a>(&'a Notes);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.value(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.value(0)?;
        Ok(Value::from(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.value(0)?;
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.value(0)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.value(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.0.value(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.0.value(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.value(0)?;
        let mut list = Vec::new();
        loop {
            let next = self.0.within(format_args!("[{}]", list.len()), || {
                items.next_element_seed(Seed(self.0))
            })?;
            match next {
                Some(item) => {
                    self.0.listed(&item)?;
                    list.push(item);
                }
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.value(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let value = self
                .0
                .within(format_args!(".{key}"), || entries.next_value_seed(Seed(self.0)))?;
            if map.contains_key(&key) {
                self.0.duplicate(&key);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A key; YAML's scalars of other types count as the text they are written with.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<String, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

/// What is wrong with bytes that are not JSON, in the words of Go's scanner.
fn syntax_error(bytes: &[u8]) -> Option<String> {
    Scanner { bytes, at: 0 }.document().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Go reads no JSON that nests deeper.
const MAX_DEPTH: usize = 10_000;

impl Scanner<'_> {
    /// Goes through the document without recursion: it nests as deeply as a client likes.
    fn document(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        loop {
            if open.len() > MAX_DEPTH {
                return Err("exceeded max depth".to_owned());
            }
            let begun = self.need()?;
            match begun {
                b'{' | b'[' => {
                    self.at += 1;
                    if self.need()? == closing(begun) {
                        self.at += 1;
                    } else {
                        open.push(begun);
                        if begun == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                b'-' | b'0'..=b'9' => self.number(),
                c => return Err(invalid(c, "looking for beginning of value")),
            }
            if !self.another(&mut open)? {
                return match self.peek() {
                    None => Ok(()),
                    Some(c) => Err(invalid(c, "after top-level value")),
                };
            }
        }
    }

    /// Goes on behind a value; false if it was the whole document.
    fn another(&mut self, open: &mut Vec<u8>) -> Result<bool, String> {
        while let Some(within) = open.last().copied() {
            match self.need()? {
                b',' => {
                    self.at += 1;
                    if within == b'{' {
                        self.key()?;
                    }
                    return Ok(true);
                }
                c if c == closing(within) => {
                    self.at += 1;
                    open.pop();
                }
                c if within == b'{' => return Err(invalid(c, "after object key:value pair")),
                c => return Err(invalid(c, "after array element")),
            }
        }
        Ok(false)
    }

    fn key(&mut self) -> Result<(), String> {
        match self.need()? {
            b'"' => self.string()?,
            c => return Err(invalid(c, "looking for beginning of object key string")),
        }
        match self.need()? {
            b':' => self.at += 1,
            c => return Err(invalid(c, "after object key")),
        }
        Ok(())
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(c) = self.bytes.get(self.at) {
            if !matches!(c, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*c);
            }
            self.at += 1;
        }
        None
    }

    fn need(&mut self) -> Result<u8, String> {
        self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let c = *self.bytes.get(self.at).ok_or("unexpected end of JSON input")?;
            self.at += 1;
            match c {
                b'"' => return Ok(()),
                b'\\' => {
                    let escape = *self.bytes.get(self.at).ok_or("unexpected end of JSON input")?;
                    if !matches!(escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' | b'u') {
                        return Err(invalid(escape, "in string escape code"));
                    }
                    self.at += 1;
                }
                0..0x20 => return Err(invalid(c, "in string literal")),
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for (index, wanted) in word.bytes().enumerate() {
            match self.bytes.get(self.at) {
                Some(c) if *c == wanted => self.at += 1,
                Some(c) => {
                    return Err(invalid(
                        *c,
                        &format!("in literal {word} (expecting {})", quoted(word.as_bytes()[index])),
                    ));
                }
                None => return Err("unexpected end of JSON input".to_owned()),
            }
        }
        Ok(())
    }

    fn number(&mut self) {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|c| matches!(c, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        {
            self.at += 1;
        }
    }
}

fn closing(opening: u8) -> u8 {
    if opening == b'{' { b'}' } else { b']' }
}

fn invalid(c: u8, context: &str) -> String {
    format!("invalid character {} {context}", quoted(c))
}

fn quoted(c: u8) -> String {
    match c {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => format!("'{}'", go_quote(&char::from(c).to_string()).trim_matches('"')),
    }
}
