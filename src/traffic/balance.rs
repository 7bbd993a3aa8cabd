//! Choosing an endpoint inside a cluster: power of two choices over Peak-EWMA latency, load and slow start.

use std::time::Duration;

/// Time constant of [`peak_ewma`].
pub const LATENCY_TAU: Duration = Duration::from_secs(10);
/// Length of slow start.
pub const SLOW_START_WINDOW: Duration = Duration::from_secs(60);
/// Weight that slow start begins with.
const SLOW_START_FLOOR: f64 = 0.1;

/// Latency estimate after a sample: a slower answer counts at once, faster ones win it back slowly.
pub fn peak_ewma(estimate: f64, sample: f64, elapsed: Duration, tau: Duration) -> f64 {
    if sample > estimate {
        sample
    } else {
        crate::control::ewma(estimate, sample, elapsed, tau)
    }
}

/// What the next request to an endpoint costs: its latency for everything in flight and the request itself,
/// divided by its slow-start weight.
pub fn cost(latency: f64, in_flight: u32, weight: f64) -> f64 {
    latency * (f64::from(in_flight) + 1.0) / weight
}

/// Weight of an endpoint `age` after it came: grows from 0.1 to 1 over `window`; `aggression` 1 is linear, more is faster.
pub fn slow_start(age: Duration, window: Duration, aggression: f64) -> f64 {
    if age >= window {
        return 1.0;
    }
    let part = age.as_secs_f64().max(1.0) / window.as_secs_f64();
    part.powf(1.0 / aggression).clamp(SLOW_START_FLOOR, 1.0)
}

/// Two different candidates out of `count` from one random number; the same twice if there is only one. `count` must not be 0.
pub fn two_of(count: usize, random: u64) -> (usize, usize) {
    debug_assert!(count > 0, "nothing to choose from");
    let (high, low) = ((random >> 32) as usize, (random & 0xffff_ffff) as usize);
    let first = high % count;
    if count < 2 {
        return (first, first);
    }
    let second = low % (count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// The cheaper of two random candidates.
pub fn pick_two(count: usize, random: u64, cost: impl Fn(usize) -> f64) -> Option<usize> {
    if count == 0 {
        return None;
    }
    let (a, b) = two_of(count, random);
    Some(if a == b || cost(a) <= cost(b) { a } else { b })
}

/// A hash that mixes all bits (SplitMix64's finaliser).
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Rendezvous hashing: the member with the highest hash of client and member; only clients of a member that leaves move.
pub fn rendezvous(client: u64, members: impl Iterator<Item = u64>) -> Option<usize> {
    members
        .enumerate()
        .max_by_key(|(_, member)| mix(client ^ mix(*member)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fast_answer_lowers_the_estimate_slowly_and_a_slow_one_at_once() {
        let tau = Duration::from_secs(10);
        let estimate = peak_ewma(100.0, 20.0, Duration::from_secs(10), tau);
        assert!((estimate - 49.43).abs() < 5e-3);
        assert_eq!(peak_ewma(20.0, 300.0, Duration::from_millis(1), tau), 300.0);
    }

    #[test]
    fn the_cheaper_of_two_wins() {
        let (a, b) = (cost(49.43, 1, 1.0), cost(80.0, 0, 1.0));
        assert!(b < a);
        assert_eq!(pick_two(2, 7, |index| [a, b][index]), Some(1));
        assert_eq!(pick_two(1, u64::MAX, |_| 1.0), Some(0));
        assert_eq!(pick_two(0, 0, |_| 1.0), None);
    }

    #[test]
    fn slow_start_grows_as_published() {
        let window = Duration::from_secs(60);
        assert_eq!(slow_start(Duration::from_secs(3), window, 1.0), 0.1);
        assert_eq!(slow_start(Duration::from_secs(30), window, 1.0), 0.5);
        assert!((slow_start(Duration::from_secs(30), window, 2.0) - 0.707).abs() < 1e-3);
        assert_eq!(slow_start(Duration::from_secs(61), window, 1.0), 1.0);
    }

    proptest! {
        #[test]
        fn candidates_are_different_and_in_range(count in 1usize..100, random: u64) {
            let (a, b) = two_of(count, random);
            prop_assert!(a < count && b < count && (a != b || count == 1));
        }

        #[test]
        fn only_clients_of_the_member_that_left_move(client: u64, gone in 0usize..8) {
            let members: Vec<u64> = (0..8).collect();
            let before = rendezvous(client, members.iter().copied()).expect("members");
            let left: Vec<u64> = members.iter().copied().filter(|member| *member != gone as u64).collect();
            let after = left[rendezvous(client, left.iter().copied()).expect("members")];
            prop_assert!(before == gone || after == before as u64);
        }
    }
}
