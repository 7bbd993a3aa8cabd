//! Continue tokens: where the next page of a list starts, and as of which revision.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::errors;
use apimachinery::{schema::decode_json, status::Status};

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// A decoded token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As of this revision; `None` is the newest (a token handed out when the old revision had expired).
    pub revision: Option<u64>,
    /// The last key of the page before, relative to the resource's prefix.
    pub after: String,
}

const VERSION: &str = "meta.k8s.io/v1";

impl Token {
    /// The token as clients carry it.
    #[must_use]
    pub fn encode(&self) -> String {
        let wire = Wire {
            v: VERSION.into(),
            rv: self.revision.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX)),
            start: format!("{}\u{0}", self.after),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 if it is none of ours.
    pub fn decode(text: &str) -> Result<Self, Status> {
        let wrong =
            |why: &str| errors::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|e| wrong(&e.to_string()))?;
        let document = decode_json(&bytes).map_err(|e| wrong(&e.to_string()))?.value;
        let wire = Wire::deserialize(document).map_err(|e| wrong(&e.to_string()))?;
        if wire.v != VERSION {
            return Err(wrong(&format!(
                "server does not recognize this encoded version {:?}",
                wire.v
            )));
        }
        if wire.rv == 0 {
            return Err(wrong(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if wire.start.is_empty() {
            return Err(wrong("encoded start key empty (version meta.k8s.io/v1)"));
        }
        if wire.start.split(['/', '\u{0}']).any(|part| part == "..") {
            return Err(wrong(&wire.start));
        }
        Ok(Self {
            revision: u64::try_from(wire.rv).ok(),
            after: wire.start.trim_end_matches('\u{0}').trim_start_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_to_the_client_and_back() {
        for token in [
            Token {
                revision: Some(227),
                after: "default/a".into(),
            },
            Token {
                revision: None,
                after: "b".into(),
            },
        ] {
            assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
    }

    #[test]
    fn a_foreign_token_is_400() {
        for text in [
            "x",
            "!!",
            &URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":5,"start":"a/../b"}"#),
        ] {
            assert_eq!(Token::decode(text).unwrap_err().code, 400, "{text}");
        }
    }
}
