//! Times as Kubernetes writes them: RFC 3339 in UTC, of seconds (`Time`) or microseconds (`MicroTime`).

use jiff::{SignedDuration, Timestamp};

/// A `Time`: `2026-01-02T03:04:05Z`. Fractions of a second are cut off.
#[must_use]
pub fn format(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A `MicroTime`: `2026-01-02T03:04:05.000006Z`, always with six digits.
#[must_use]
pub fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads an RFC 3339 time with any offset and any number of digits; `None` if it is not one.
///
/// Stricter than [`Timestamp`]'s own parser, as kube is: `T` and seconds are needed, an offset is `Z` or `±hh:mm`.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let well_formed = digits(0..4)
        && bytes.get(4) == Some(&b'-')
        && digits(5..7)
        && bytes.get(7) == Some(&b'-')
        && digits(8..10)
        && bytes.get(10) == Some(&b'T')
        && digits(11..13)
        && bytes.get(13) == Some(&b':')
        && digits(14..16)
        && bytes.get(16) == Some(&b':')
        && digits(17..19);
    let rest = bytes.get(19..)?;
    let fraction = match rest.first() {
        Some(b'.') => 1 + rest[1..].iter().take_while(|c| c.is_ascii_digit()).count(),
        _ => 0,
    };
    let offset = match &rest[fraction..] {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()),
        _ => false,
    };
    // More than nine digits are more than a nanosecond, which Go drops.
    if !well_formed || fraction == 1 || !offset {
        return None;
    }
    if fraction > 10 {
        let cut = format!("{}{}", &text[..29], &text[19 + fraction..]);
        return cut.parse().ok();
    }
    text.parse().ok()
}

/// Age as kubectl shows it: `5s`, `3m2s`, `4h30m`, `2d`, `1y12d`; a time ahead of `now` is `0s`, up to two seconds of skew,
/// beyond that `<invalid>`.
#[must_use]
pub fn human_duration(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    if seconds < -1 {
        return "<invalid>".into();
    }
    if span.is_negative() {
        return "0s".into();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// Age at `now` of something made at `since`, as tables show it; `<unknown>` if that is no time.
#[must_use]
pub fn age(since: &str, now: Timestamp) -> String {
    parse(since).map_or_else(|| "<unknown>".into(), |at| human_duration(now.duration_since(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_and_cut_to_their_precision() {
        let at = parse("2026-01-02T03:04:05.678901234+02:00").unwrap();
        assert_eq!(format(at), "2026-01-02T01:04:05Z");
        assert_eq!(format_micro(at), "2026-01-02T01:04:05.678901Z");
    }

    #[test]
    fn only_rfc3339_is_read() {
        for good in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.1Z",
            "2026-01-02T03:04:05-07:30",
            "2026-01-02T03:04:05.12345678901Z",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+0200",
            "é026-01-02T03:04:05Z",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ages_lose_detail_as_they_grow() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (86_400 * 8, "8d"),
            (86_400 * 729, "729d"),
            (86_400 * 730, "2y"),
            (86_400 * 731, "2y1d"),
            (86_400 * 365 * 8, "8y"),
        ] {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }
}
