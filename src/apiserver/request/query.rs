//! Query strings, decoded once, with the lenient readings of kube-apiserver.

use apimachinery::status::Status;

/// The decoded pairs of a query string, in order.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what follows the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key, true), decode(value, true))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The value of a key, empty if it is not there.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// A flag: there, and neither `false` nor `0`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.optional_flag(key).unwrap_or(false)
    }

    /// A flag that may be unset.
    #[must_use]
    pub fn optional_flag(&self, key: &str) -> Option<bool> {
        self.get(key)
            .map(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number that may be unset.
    ///
    /// # Errors
    /// 400 with Go's text if the value is no number.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| {
                Status::failure(
                    400,
                    "BadRequest",
                    format!("strconv.ParseInt: parsing {value:?}: invalid syntax"),
                )
            }),
        }
    }
}

/// Percent-decoding; what is no valid escape is kept as it is. `plus`: a plus is a blank.
#[must_use]
pub fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_plus_are_decoded_and_broken_escapes_kept() {
        let query = Query::parse("labelSelector=app%3Dweb%2Cx+in+(a)&flag&bad=%zz%4&watch=True&off=0");
        assert_eq!(query.text("labelSelector"), "app=web,x in (a)");
        assert_eq!(query.text("bad"), "%zz%4");
        assert!(query.flag("watch"));
        assert!(query.flag("flag"));
        assert!(!query.flag("off"));
        assert!(!query.flag("absent"));
    }

    #[test]
    fn a_word_is_no_number() {
        let query = Query::parse("limit=abc&timeoutSeconds=5");
        assert_eq!(query.number("timeoutSeconds").unwrap(), Some(5));
        assert_eq!(query.number("limit").unwrap_err().code, 400);
    }
}
