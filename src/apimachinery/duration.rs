//! Lengths of time as Go writes and reads them, with Go's words for what is wrong: flags, annotations, queries and
//! `metav1.Duration` fields all use this one form.

use std::time::Duration;

use crate::text::go_quote;

/// Longest length, in nanoseconds, that Go can hold.
const LONGEST: f64 = 9.2e18;

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It has another form, or is too long.
    #[error("time: invalid duration {}", go_quote(.0))]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {}", go_quote(.0))]
    MissingUnit(String),
    /// A unit is none of `h`, `m`, `s`, `ms`, `us` and `ns`.
    #[error("time: unknown unit {} in duration {}", go_quote(.unit), go_quote(.text))]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// It is less than nothing where that makes no sense.
    #[error("{} is negative", go_quote(.0))]
    Negative(String),
}

/// Nanoseconds of a unit.
fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// Reads `1h30m`, `500ms`, `-1.5s` or `0` into nanoseconds.
///
/// # Errors
/// If the text has another form.
pub fn parse_nanos(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|c| c.is_ascii_digit() || *c == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let length = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let name = &rest[..length];
        total += number
            * unit(name).ok_or_else(|| DurationError::UnknownUnit {
                text: text.to_owned(),
                unit: name.to_owned(),
            })?;
        rest = &rest[length..];
    }
    if total > LONGEST {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
    let nanos = total as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// Reads the same, without a sign or with `+`, as a duration.
///
/// # Errors
/// If the text has another form, or means less than nothing.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let nanos = u64::try_from(parse_nanos(text)?).map_err(|_| DurationError::Negative(text.to_owned()))?;
    Ok(Duration::from_nanos(nanos))
}

/// Writes nanoseconds as Go does: `1h0m0s`, `1.5s`, `100ms`.
#[must_use]
pub fn format_nanos(nanos: i64) -> String {
    let total = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |whole: u64, part: u64, width: usize, unit: &str| {
        let digits = format!("{part:0width$}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            format!("{sign}{whole}{unit}")
        } else {
            format!("{sign}{whole}.{digits}{unit}")
        }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => fraction(total / 1_000, total % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => fraction(total / 1_000_000, total % 1_000_000, 6, "ms"),
        _ => {
            let seconds = total / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let tail = fraction(seconds % 60, total % 1_000_000_000, 9, "s");
            let tail = tail.trim_start_matches('-');
            match (hours, minutes) {
                (0, 0) => format!("{sign}{tail}"),
                (0, _) => format!("{sign}{minutes}m{tail}"),
                _ => format!("{sign}{hours}h{minutes}m{tail}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_add_up() {
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse_nanos("-1s"), Ok(-1_000_000_000));
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        for (text, words) in [
            ("", r#"time: invalid duration """#),
            ("abc", r#"time: invalid duration "abc""#),
            ("9999999h", r#"time: invalid duration "9999999h""#),
            ("10", r#"time: missing unit in duration "10""#),
            ("1m30", r#"time: missing unit in duration "1m30""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("-1s", r#""-1s" is negative"#),
        ] {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(words.to_owned()));
        }
    }
}
