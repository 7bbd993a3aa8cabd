//! Reads label selectors from a query string: `a=b,c in (d,e),!f`.
//!
//! The grammar is kube's, with its quirks: empty values in sets, `in` and `notin` as keys and values, an operator
//! sticking to what follows, and the texts of its errors.

use std::str::FromStr;

use super::label::{LabelSelector, Operator, Requirement, SelectorError};
use crate::{field, names};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    End,
    Closed,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    text: String,
}

/// What follows decides whether `in` is an operator or a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Operators,
    Names,
}

fn keyword(text: &str) -> Option<Kind> {
    Some(match text {
        ")" => Kind::Closed,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "==" => Kind::DoubleEquals,
        "=" => Kind::Equals,
        ">" => Kind::Greater,
        "in" => Kind::In,
        "<" => Kind::Less,
        "!=" => Kind::NotEquals,
        "notin" => Kind::NotIn,
        "(" => Kind::Open,
        _ => return None,
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// Splits the text into tokens; the last one is [`Kind::End`].
fn tokens(text: &str) -> Vec<Token> {
    // A NUL ends the text, as in kube's lexer.
    let mut rest = text.split('\0').next().unwrap_or("");
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_space);
        let token = match rest.chars().next() {
            None => Token {
                kind: Kind::End,
                text: String::new(),
            },
            Some(c) if is_symbol(c) => symbol(rest),
            Some(_) => {
                let end = rest.find(|c| is_space(c) || is_symbol(c)).unwrap_or(rest.len());
                Token {
                    kind: keyword(&rest[..end]).unwrap_or(Kind::Identifier),
                    text: rest[..end].to_owned(),
                }
            }
        };
        rest = &rest[token.text.len()..];
        let end = token.kind == Kind::End;
        found.push(token);
        if end {
            return found;
        }
    }
}

/// The longest symbol that the text begins with.
fn symbol(text: &str) -> Token {
    let two = text.get(..2).and_then(|s| keyword(s).map(|kind| (kind, s)));
    let (kind, text) = two.unwrap_or_else(|| (keyword(&text[..1]).unwrap_or(Kind::Error), &text[..1]));
    Token {
        kind,
        text: text.to_owned(),
    }
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

fn expected(found: &str, what: &str) -> SelectorError {
    SelectorError(format!("found '{found}', expected: {what}"))
}

impl Parser {
    fn peek(&self, context: Context) -> Token {
        let last = self.tokens.len() - 1;
        let mut token = self.tokens[self.position.min(last)].clone();
        if context == Context::Names && matches!(token.kind, Kind::In | Kind::NotIn) {
            token.kind = Kind::Identifier;
        }
        token
    }

    fn next(&mut self, context: Context) -> Token {
        let token = self.peek(context);
        self.position += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            let ahead = self.peek(Context::Names);
            match ahead.kind {
                Kind::Identifier | Kind::Not => {
                    let requirement = self
                        .requirement()
                        .map_err(|SelectorError(why)| SelectorError(format!("unable to parse requirement: {why}")))?;
                    requirements.push(requirement);
                    let after = self.next(Context::Names);
                    match after.kind {
                        Kind::End => return Ok(requirements),
                        Kind::Comma => {
                            let ahead = self.peek(Context::Names);
                            if !matches!(ahead.kind, Kind::Identifier | Kind::Not) {
                                return Err(expected(&ahead.text, "identifier after ','"));
                            }
                        }
                        _ => return Err(expected(&after.text, "',' or 'end of string'")),
                    }
                }
                Kind::End => return Ok(requirements),
                _ => return Err(expected(&ahead.text, "!, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next(Context::Names);
        let negated = token.kind == Kind::Not;
        if negated {
            token = self.next(Context::Names);
        }
        if token.kind != Kind::Identifier {
            return Err(expected(&token.text, "identifier"));
        }
        let key = token.text;
        let problems = names::qualified_name(&key);
        if !problems.is_empty() {
            return Err(SelectorError(
                field::invalid("<nil>", &key.into(), &problems.join("; ")).to_string(),
            ));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(Context::Names).kind, Kind::End | Kind::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.value_set()?,
            _ => vec![self.value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let token = self.next(Context::Operators);
        Ok(match token.kind {
            Kind::In => Operator::In,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            Kind::NotIn => Operator::NotIn,
            Kind::NotEquals => Operator::NotEquals,
            _ => return Err(expected(&token.text, "in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(Context::Names).kind, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        let token = self.next(Context::Names);
        if token.kind == Kind::Identifier {
            Ok(token.text)
        } else {
            Err(expected(&token.text, "identifier"))
        }
    }

    fn value_set(&mut self) -> Result<Vec<String>, SelectorError> {
        let open = self.next(Context::Names);
        if open.kind != Kind::Open {
            return Err(SelectorError(format!("found '{}' expected: '('", open.text)));
        }
        let ahead = self.peek(Context::Names);
        match ahead.kind {
            Kind::Closed => {
                self.position += 1;
                Ok(vec![String::new()])
            }
            Kind::Identifier | Kind::Comma => {
                let values = self.values()?;
                self.position += 1;
                Ok(values)
            }
            _ => Err(expected(&ahead.text, "',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis, which is left.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let mut values = Vec::new();
        loop {
            let token = self.next(Context::Names);
            let ahead = self.peek(Context::Names);
            match (token.kind, ahead.kind) {
                (Kind::Identifier, Kind::Comma) => values.push(token.text),
                (Kind::Identifier, Kind::Closed) => {
                    values.push(token.text);
                    return Ok(values);
                }
                (Kind::Identifier, _) => return Err(expected(&ahead.text, "',' or ')'")),
                (Kind::Comma, after) => {
                    if values.is_empty() || matches!(after, Kind::Closed | Kind::Comma) {
                        values.push(String::new());
                    }
                    if after == Kind::Closed {
                        return Ok(values);
                    }
                }
                _ => return Err(expected(&token.text, "',', or identifier")),
            }
        }
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: tokens(text),
            position: 0,
        };
        Ok(Self::all_of(parser.selector()?))
    }
}

impl LabelSelector {
    /// Reads the query parameter `labelSelector`.
    ///
    /// # Errors
    /// When the text is no selector, with kube's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        text.parse()
    }
}
