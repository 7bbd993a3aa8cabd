//! Cron schedules: `minute hour day-of-month month day-of-week`, or `@hourly` and the like. Pure.

use jiff::{ToSpan as _, Zoned};

/// A schedule cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unreadable schedule {0:?}")]
pub(crate) struct Unreadable(String);

/// When something is due. Each field is a set of numbers, as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: either may match.
    either_day: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// No schedule that ever comes is further away: four years reach the next 29th of February.
const HORIZON_DAYS: i32 = 5 * 366;

impl Schedule {
    /// Reads a schedule.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable(text.to_owned());
        let expanded = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(unreadable());
        };
        let set = |field, range, names| field_set(field, range, names).ok_or_else(unreadable);
        let mut week = set(weekdays, (0, 7), &WEEKDAYS[..])?;
        // Sunday is 0 and 7.
        week |= (week >> 7) & 1;
        Ok(Self {
            minutes: set(minutes, (0, 59), &[])?,
            hours: set(hours, (0, 23), &[])?,
            days: set(days, (1, 31), &[])?,
            months: set(months, (1, 12), &MONTHS[..])?,
            weekdays: week,
            either_day: !days.starts_with(['*', '?']) && !weekdays.starts_with(['*', '?']),
        })
    }

    /// The first due minute after a moment; `None` if there is none.
    pub(crate) fn next(&self, after: &Zoned) -> Option<Zoned> {
        let mut at = after
            .round(
                jiff::ZonedRound::new()
                    .smallest(jiff::Unit::Minute)
                    .mode(jiff::RoundMode::Trunc),
            )
            .ok()?;
        at = at.checked_add(1.minute()).ok()?;
        let end = after.checked_add(HORIZON_DAYS.days()).ok()?;
        while at < end {
            if !self.is_day(&at) {
                at = at.start_of_day().ok()?.checked_add(1.day()).ok()?;
            } else if !bit(self.hours, at.hour()) {
                let minutes = 60 - i32::from(at.minute());
                at = at.checked_add(minutes.minutes()).ok()?;
            } else if bit(self.minutes, at.minute()) {
                return Some(at);
            } else {
                at = at.checked_add(1.minute()).ok()?;
            }
        }
        None
    }

    fn is_day(&self, at: &Zoned) -> bool {
        let day = bit(self.days, at.day());
        let weekday = bit(self.weekdays, at.weekday().to_sunday_zero_offset());
        bit(self.months, at.month())
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }
}

fn bit(set: u64, number: i8) -> bool {
    set >> number & 1 == 1
}

fn field_set(field: &str, (least, most): (u8, u8), names: &[&str]) -> Option<u64> {
    field
        .split(',')
        .try_fold(0, |set, part| Some(set | part_set(part, (least, most), names)?))
}

fn part_set(part: &str, (least, most): (u8, u8), names: &[&str]) -> Option<u64> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| *step > 0)?),
        None => (part, 1),
    };
    let number = |text: &str| -> Option<u8> {
        let named = names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name))
            .and_then(|index| u8::try_from(index).ok());
        // Months count from 1, weekdays from 0.
        let number = named.map_or_else(|| text.parse().ok(), |index| Some(index + least))?;
        (least..=most).contains(&number).then_some(number)
    };
    let (first, last) = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => (least, most),
        Some((first, last)) => (number(first)?, number(last)?),
        None if part.contains('/') => (number(range)?, most),
        None => (number(range)?, number(range)?),
    };
    (first <= last).then(|| {
        (first..=last)
            .step_by(step.into())
            .fold(0, |set, number| set | 1 << number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let after: Zoned = after.parse().unwrap();
        let next = Schedule::parse(schedule).unwrap().next(&after);
        next.map_or_else(|| "never".to_owned(), |at| at.strftime("%F %H:%M").to_string())
    }

    #[test]
    fn the_next_time_is_after_now() {
        let now = "2026-02-27T10:15:30[UTC]";
        for (schedule, expected) in [
            ("* * * * *", "2026-02-27 10:16"),
            ("*/15 * * * *", "2026-02-27 10:30"),
            ("15 10 * * *", "2026-02-28 10:15"),
            ("0 0 29 2 *", "2028-02-29 00:00"),
            ("0 9-17/4 * * mon-fri", "2026-02-27 13:00"),
            ("0 0 1 * 0", "2026-03-01 00:00"),
            ("0 0 13 * fri", "2026-03-06 00:00"),
            ("@hourly", "2026-02-27 11:00"),
            ("0 0 * JAN 7", "2027-01-03 00:00"),
            ("0 0 31 2 *", "never"),
        ] {
            assert_eq!(next(schedule, now), expected, "{schedule}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for schedule in ["", "* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"] {
            assert_eq!(Schedule::parse(schedule), Err(Unreadable(schedule.to_owned())));
        }
    }
}
