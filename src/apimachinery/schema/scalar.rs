//! Scalars with a grammar of their own: what is accepted, the canonical text, and the words
//! in which kube-apiserver refuses the rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, tz::Offset};
use serde_json::Value;

use crate::duration;
use crate::quantity::Quantity;

/// Writes floating point as Go does: whole numbers without a fraction.
pub(super) fn shorten_float(value: &mut Value) {
    if let Some(float) = value.as_f64().filter(|_| value.is_f64())
        && float.fract() == 0.0
        && float.abs() < 9.0e15
    {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        let whole = float as i64;
        *value = Value::from(whole);
    }
}

/// The canonical text of a quantity.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    Quantity::parse(text.trim())
        .map(|quantity| quantity.to_string())
        .map_err(|error| error.to_string())
}

/// Base64 of the standard alphabet; line breaks are skipped.
pub(super) fn base64(text: &str) -> Result<String, String> {
    match decode_base64(text) {
        Ok(bytes) => Ok(STANDARD.encode(bytes)),
        Err(at) => Err(format!("illegal base64 data at input byte {at}")),
    }
}

/// Decodes base64, or tells at which byte it ceases to be that.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, usize> {
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    if let Some(at) = clean.bytes().position(|c| !good(c)) {
        return Err(at);
    }
    STANDARD.decode(&clean).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
        base64::DecodeError::InvalidLength(length) => length - length % 4,
        base64::DecodeError::InvalidPadding => clean.len(),
    })
}

/// RFC 3339 to the second; the zero time is null.
pub(super) fn time(text: &str) -> Result<Value, String> {
    Ok(format_time(parse_time(text, 0)?))
}

/// RFC 3339 with exactly six digits of fraction; the zero time is null.
pub(super) fn micro_time(text: &str) -> Result<Value, String> {
    Ok(format_micro_time(parse_time(text, 6)?))
}

/// The text of a time, to the second.
pub(crate) fn format_time(time: Timestamp) -> Value {
    if is_zero_time(time) {
        Value::Null
    } else {
        Value::String(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

/// The text of a time, to the microsecond.
pub(crate) fn format_micro_time(time: Timestamp) -> Value {
    if is_zero_time(time) {
        Value::Null
    } else {
        Value::String(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
    }
}

/// Seconds from 1970 to year 1, the zero of Go's times.
const ZERO_SECONDS: i64 = -62_135_596_800;

fn is_zero_time(time: Timestamp) -> bool {
    time.as_second() == ZERO_SECONDS && time.subsec_nanosecond() == 0
}

/// Parses RFC 3339. `digits` of fraction are demanded; 0 accepts any.
pub(crate) fn parse_time(text: &str, digits: usize) -> Result<Timestamp, String> {
    let layout = if digits == 0 {
        "2006-01-02T15:04:05Z07:00"
    } else {
        "2006-01-02T15:04:05.000000Z07:00"
    };
    let mut reader = TimeReader {
        text,
        rest: text,
        layout,
    };
    let year = reader.number(4, "2006", 0..=9999)?;
    reader.literal('-', "-")?;
    let month = reader.number(2, "01", 1..=12)?;
    reader.literal('-', "-")?;
    let day = reader.number(2, "02", 0..=99)?;
    reader.literal('T', "T")?;
    let hour = reader.number(2, "15", 0..=23)?;
    reader.literal(':', ":")?;
    let minute = reader.number(2, "04", 0..=59)?;
    reader.literal(':', ":")?;
    let second = reader.number(2, "05", 0..=59)?;
    let nanos = reader.fraction(digits)?;
    let offset = reader.offset()?;
    if !reader.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reader.rest));
    }
    let small = |n: i32| i8::try_from(n).unwrap_or(i8::MAX);
    let date = jiff::civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), small(month), small(day))
        .map_err(|_| reader.out_of_range("day"))?;
    let civil = date.at(small(hour), small(minute), small(second), nanos);
    offset.to_timestamp(civil).map_err(|_| reader.out_of_range("year"))
}

struct TimeReader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl TimeReader<'_> {
    fn cannot(&self, piece: &str) -> String {
        format!(
            "parsing time {:?} as {:?}: cannot parse {:?} as {piece:?}",
            self.text, self.layout, self.rest
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.text)
    }

    fn number(
        &mut self,
        width: usize,
        piece: &'static str,
        range: std::ops::RangeInclusive<i32>,
    ) -> Result<i32, String> {
        let digits = self
            .rest
            .get(..width)
            .filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()));
        let number: i32 = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.cannot(piece))?;
        if !range.contains(&number) {
            let what = match piece {
                "01" => "month",
                "15" => "hour",
                "04" => "minute",
                "05" => "second",
                _ => "day",
            };
            return Err(self.out_of_range(what));
        }
        self.rest = &self.rest[width..];
        Ok(number)
    }

    fn literal(&mut self, wanted: char, piece: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(wanted).ok_or_else(|| self.cannot(piece))?;
        Ok(())
    }

    fn fraction(&mut self, digits: usize) -> Result<i32, String> {
        let Some(fraction) = self.rest.strip_prefix('.').or_else(|| self.rest.strip_prefix(',')) else {
            return if digits == 0 {
                Ok(0)
            } else {
                Err(self.cannot(".000000"))
            };
        };
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 && digits == 0 {
            return Ok(0);
        }
        if length == 0 || (digits != 0 && length != digits) {
            return Err(self.cannot(".000000"));
        }
        self.rest = &fraction[length..];
        let padded: String = fraction[..length].chars().chain("000000000".chars()).take(9).collect();
        padded.parse().map_err(|_| self.cannot(".000000"))
    }

    fn offset(&mut self) -> Result<Offset, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(Offset::UTC);
        }
        let parsed = || -> Option<(i32, &str)> {
            let sign = match self.rest.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = self.rest.get(1..6)?.split_once(':')?;
            let two = |text: &str| {
                text.parse::<i32>()
                    .ok()
                    .filter(|_| text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit()))
            };
            Some((sign * (two(hours)? * 3600 + two(minutes)? * 60), &self.rest[6..]))
        };
        let (seconds, rest) = parsed().ok_or_else(|| self.cannot("Z07:00"))?;
        let offset = Offset::from_seconds(seconds).map_err(|_| self.out_of_range("time zone offset hour"))?;
        self.rest = rest;
        Ok(offset)
    }
}

/// The canonical text of a length of time.
pub(super) fn duration(text: &str) -> Result<String, String> {
    duration::parse_nanos(text)
        .map(duration::format_nanos)
        .map_err(|error| error.to_string())
}
