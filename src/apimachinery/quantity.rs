//! Resource quantities: `100m`, `1.5Gi`, `12e6`.
//!
//! A quantity is an exact decimal number and the family of suffixes it was written with. Like kube's, numbers
//! finer than a billionth are rounded up (away from zero) and binary quantities are capped at 2^63-1. Unlike kube's,
//! the digits of one number are limited to what 128 bits hold (38 of them); more are an error.

use std::{cmp::Ordering, fmt, str::FromStr};

/// The family of suffixes that a quantity is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Powers of ten by letter: `n u m k M G T P E`.
    DecimalSi,
    /// Powers of 1024: `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// Powers of ten by number: `e3`.
    DecimalExponent,
}

/// A resource quantity: `digits × 10^exponent`.
///
/// Equality and order are those of the number; the format does not count.
#[derive(Debug, Clone)]
pub struct Quantity {
    digits: i128,
    exponent: i32,
    format: Format,
    /// The text as it was given, where kube keeps it although another one is canonical (`01`, `+1`).
    kept: Option<String>,
}

/// Why a text is no quantity, with kube's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something that cannot be in a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Digits that are no number.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// A suffix that is not known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The finest that a quantity can be: billionths.
const FINEST: i32 = -9;
/// Exponents beyond this are refused: such numbers only serve to exhaust memory.
const EXPONENT_MAX: i64 = 100_000;
/// Suffixes of three decimal digits each, from 10^-9 up.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes of ten binary digits each, from 2^10 up.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A quantity's text in its parts.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros unless it is all of it.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits_end = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (whole, rest) = rest.split_at(digits_end(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits_end(rest)),
        None => ("", rest),
    };
    let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !exponent.bytes().all(|c| c.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    Ok(Parts {
        negative,
        whole: whole.trim_start_matches('0'),
        fraction,
        suffix,
    })
}

/// Base (2 or 10), exponent and family of a suffix.
fn suffix(text: &str) -> Option<(u8, i32, Format)> {
    let step = |index: usize| i32::try_from(index).unwrap_or(0);
    if let Some(at) = DECIMAL.iter().position(|s| *s == text) {
        return Some((10, 3 * step(at) + FINEST, Format::DecimalSi));
    }
    if let Some(at) = BINARY.iter().position(|s| *s == text) {
        return Some((2, 10 * (step(at) + 1), Format::BinarySi));
    }
    let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    let exponent = exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX + 1);
    (exponent <= EXPONENT_MAX).then_some((10, i32::try_from(exponent).ok()?, Format::DecimalExponent))
}

impl Quantity {
    fn of(digits: i128, exponent: i32, format: Format) -> Self {
        Self {
            digits,
            exponent,
            format,
            kept: None,
        }
        .trimmed()
    }

    /// A whole number.
    #[must_use]
    pub fn from_integer(value: i64, format: Format) -> Self {
        Self::of(value.into(), 0, format)
    }

    /// A number of thousandths, as CPU is counted.
    #[must_use]
    pub fn from_milli(value: i64) -> Self {
        Self::of(value.into(), -3, Format::DecimalSi)
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }

    /// Reads a quantity from JSON: a text (blanks around it do not matter) or a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, ParseError> {
        match value {
            serde_json::Value::String(text) => text.trim().parse(),
            serde_json::Value::Number(number) => number.to_string().parse(),
            serde_json::Value::Null => Ok(Self::default()),
            _ => Err(ParseError::Format),
        }
    }

    /// The family of suffixes it is written with.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it is 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(&self) -> i8 {
        i8::try_from(self.digits.signum()).unwrap_or(0)
    }

    /// Drops zeros at the end of the digits, so that equal numbers have equal parts.
    fn trimmed(mut self) -> Self {
        if self.digits == 0 {
            self.exponent = 0;
        }
        while self.digits != 0 && self.digits % 10 == 0 {
            self.digits /= 10;
            self.exponent += 1;
        }
        self
    }

    /// The number in units of `10^exponent`, rounded away from zero; at the bounds of `i128` if it is beyond.
    fn in_units_of(&self, exponent: i32) -> i128 {
        let shift = self.exponent.saturating_sub(exponent);
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        match (shift >= 0, power) {
            (true, Some(power)) => self.digits.saturating_mul(power),
            (true, None) if self.digits > 0 => i128::MAX,
            (true, None) if self.digits < 0 => i128::MIN,
            (true, None) => 0,
            (false, Some(power)) => {
                let rest = self.digits % power;
                self.digits / power + if rest == 0 { 0 } else { self.digits.signum() }
            }
            (false, None) => self.digits.signum(),
        }
    }

    fn saturated(value: i128) -> i64 {
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// The number rounded away from zero to a whole one, at the bounds of `i64` if it is beyond.
    #[must_use]
    pub fn value(&self) -> i64 {
        Self::saturated(self.in_units_of(0))
    }

    /// The number in thousandths, rounded away from zero, at the bounds of `i64` if it is beyond.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        Self::saturated(self.in_units_of(-3))
    }

    /// The number as the nearest `f64`, or close to it.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    fn combine(&self, other: &Self, operation: fn(i128, i128) -> i128) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let format = if self.is_zero() { other.format } else { self.format };
        Self::of(
            operation(self.in_units_of(exponent), other.in_units_of(exponent)),
            exponent,
            format,
        )
    }

    /// The sum, with the format of `self` unless that is 0. Saturates at 38 digits.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        self.combine(other, i128::saturating_add)
    }

    /// The difference, with the format of `self` unless that is 0. Saturates at 38 digits.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.combine(other, i128::saturating_sub)
    }

    /// The product with a whole number. Saturates at 38 digits.
    #[must_use]
    pub fn mul(&self, factor: i64) -> Self {
        Self::of(self.digits.saturating_mul(factor.into()), self.exponent, self.format)
    }

    /// Digits and suffix in binary form: only for whole numbers of at least 1024 in magnitude.
    fn binary(&self) -> Option<String> {
        let mut value = (self.exponent >= 0)
            .then(|| self.in_units_of(0))
            .filter(|v| v.abs() >= 1024)?;
        let mut suffix = "";
        for next in BINARY {
            if value % 1024 != 0 {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        Some(format!("{value}{suffix}"))
    }

    fn decimal(&self) -> String {
        let mut digits = self.digits;
        let mut exponent = self.exponent;
        // The letters end at 10^18; the digits must carry what is above.
        let highest = if self.format == Format::DecimalExponent {
            i32::MAX
        } else {
            18
        };
        while exponent.rem_euclid(3) != 0 || exponent > highest {
            digits = digits.saturating_mul(10);
            exponent -= 1;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                digits.to_string()
            } else {
                format!("{digits}e{exponent}")
            };
        }
        let letter = usize::try_from((exponent - FINEST) / 3)
            .ok()
            .and_then(|at| DECIMAL.get(at));
        format!("{digits}{}", letter.unwrap_or(&""))
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self {
            digits: 0,
            exponent: 0,
            format: Format::DecimalSi,
            kept: None,
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let parts = split(text)?;
        let (base, suffix_exponent, mut format) = suffix(parts.suffix).ok_or(ParseError::Suffix)?;
        let shifted = format!("{}{}", parts.whole, parts.fraction);
        let mut digits: i128 = if shifted.is_empty() {
            0
        } else {
            shifted.parse().map_err(|_| ParseError::Number)?
        };
        let places = i32::try_from(parts.fraction.len()).map_err(|_| ParseError::Number)?;
        let mut exponent = -places;
        let kept = !parts.whole.is_empty() && is_kept(&shifted, suffix_exponent, exponent, format);
        let kept = kept.then(|| text.to_owned());
        if base == 10 {
            exponent += suffix_exponent;
        } else {
            let power = 1_i128 << suffix_exponent;
            let product = digits.checked_mul(power);
            // Too many digits to multiply are either far over the cap or far finer than a billionth.
            digits = product.ok_or(ParseError::Number)?;
        }
        let mut quantity = Self {
            digits,
            exponent,
            format,
            kept: None,
        };
        if exponent < FINEST {
            quantity.digits = quantity.in_units_of(FINEST);
            quantity.exponent = FINEST;
        }
        if format == Format::BinarySi {
            if quantity.in_units_of(0) > i64::MAX.into() {
                quantity.digits = i64::MAX.into();
                quantity.exponent = 0;
            }
            let below_one = quantity.digits > 0 && quantity < Self::from_integer(1, format);
            if below_one {
                format = Format::DecimalSi;
            }
        }
        quantity.format = format;
        if parts.negative {
            quantity.digits = -quantity.digits;
        }
        Ok(Self {
            kept,
            ..quantity.trimmed()
        })
    }
}

/// Whether kube writes the text back as it is: it does not look closely at what already looks canonical.
fn is_kept(shifted: &str, suffix_exponent: i32, exponent: i32, format: Format) -> bool {
    let length = i32::try_from(shifted.len()).unwrap_or(i32::MAX);
    if format == Format::BinarySi {
        let not_a_multiple_of_8 = shifted.parse::<i64>().is_ok_and(|value| value & 7 != 0);
        return exponent == 0 && length + suffix_exponent * 3 / 10 < 15 && not_a_multiple_of_8;
    }
    let scale = exponent + suffix_exponent;
    length <= 18 && scale >= FINEST && scale % 3 == 0 && !shifted.ends_with("000")
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that needs none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kept) = &self.kept {
            return f.write_str(kept);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        let binary = if self.format == Format::BinarySi {
            self.binary()
        } else {
            None
        };
        f.write_str(&binary.unwrap_or_else(|| self.decimal()))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        (self.digits, self.exponent) == (other.digits, other.exponent)
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.digits.signum() != other.digits.signum() || self.digits == 0 {
            return self.digits.signum().cmp(&other.digits.signum());
        }
        let magnitude =
            |q: &Self| i64::from(q.exponent) + q.digits.unsigned_abs().checked_ilog10().map_or(0, i64::from);
        let larger = magnitude(self).cmp(&magnitude(other));
        let larger = if larger == Ordering::Equal {
            compare_aligned(self, other)
        } else {
            larger
        };
        if self.digits < 0 { larger.reverse() } else { larger }
    }
}

/// Compares the absolute values of numbers with equally many digits before the point.
fn compare_aligned(a: &Quantity, b: &Quantity) -> Ordering {
    // Equal magnitude and trimmed digits: the one with more digits has the lower exponent, so that
    // scaling the other up to it stays within the same number of digits.
    let exponent = a.exponent.min(b.exponent);
    let scaled = |q: &Quantity| {
        q.digits
            .unsigned_abs()
            .saturating_mul(10_u128.saturating_pow(q.exponent.abs_diff(exponent)))
    };
    scaled(a).cmp(&scaled(b))
}

#[cfg(test)]
mod tests;
