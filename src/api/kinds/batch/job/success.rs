//! Validation of `spec.successPolicy`.

use apimachinery::field::{self, ErrorList};

use crate::validation::{At, non_negative};

const MAX_RULES: usize = 20;
const MAX_INDEXES_LENGTH: usize = 64 * 1024;

/// Errors of the success policy of a job with so many completions.
pub(super) fn policy(at: &At<'_>, completions: i64, errors: &mut ErrorList) {
    let rules = at.key("rules");
    if rules.is_empty() {
        errors.push(rules.required("at least one rules must be specified when the successPolicy is specified"));
    }
    if rules.len() > MAX_RULES {
        errors.push(field::too_many(rules.path.as_str(), rules.len(), MAX_RULES));
    }
    rules.items().for_each(|rule| self::rule(&rule, completions, errors));
}

fn rule(at: &At<'_>, completions: i64, errors: &mut ErrorList) {
    let (indexes, count) = (at.key("succeededIndexes"), at.key("succeededCount"));
    if !indexes.is_set() && !count.is_set() {
        errors.push(at.required("at least one of succeededCount or succeededIndexes must be specified"));
    }
    let mut total = 0;
    if indexes.is_set() {
        if indexes.text().len() > MAX_INDEXES_LENGTH {
            errors.push(indexes.too_long(MAX_INDEXES_LENGTH));
        }
        match count_of(indexes.text(), completions) {
            Ok(number) => total = number,
            Err(problem) => errors.push(indexes.invalid(&format!("error parsing succeededIndexes: {problem}"))),
        }
    }
    if !count.is_set() {
        return;
    }
    non_negative(&count, errors);
    if count.int() > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(count.invalid(&detail));
    }
    if indexes.is_set() && count.int() > total {
        errors.push(count.invalid(&format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        )));
    }
}

/// How many indexes a text such as `0,2-4` names, or what is wrong with it.
fn count_of(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = bounds(interval, completions)?;
        increasing(last, first)?;
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn bounds(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = interval.split('-').collect();
    let index = |text: &str| {
        let index: i64 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index >= completions {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(index)
    };
    match parts.as_slice() {
        [one] => index(one).map(|index| (index, index)),
        [first, end] => {
            let (first, end) = (index(first)?, index(end)?);
            increasing(Some(first), end)?;
            Ok((first, end))
        }
        _ => Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

fn increasing(previous: Option<i64>, current: i64) -> Result<(), String> {
    match previous {
        Some(previous) if previous >= current => Err(format!(
            "non-increasing order, previous: {previous}, current: {current}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_and_must_increase() {
        assert_eq!(count_of("0,2-4", 5), Ok(4));
        assert_eq!(count_of("", 5), Ok(0));
        assert_eq!(
            count_of("3,3", 5),
            Err("non-increasing order, previous: 3, current: 3".into())
        );
        assert_eq!(count_of("0-5", 5), Err("too large index: \"5\"".into()));
        assert_eq!(
            count_of("x", 5),
            Err("cannot convert string to integer for index: \"x\"".into())
        );
    }
}
