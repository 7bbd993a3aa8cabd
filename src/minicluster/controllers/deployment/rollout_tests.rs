use proptest::prelude::*;

use super::*;

fn set(replicas: i32, available: i32) -> Set {
    Set {
        replicas,
        available,
        sized_for: None,
        sized_for_most: None,
    }
}

fn limits(replicas: i32, max_surge: i32, max_unavailable: i32) -> Limits {
    Limits {
        replicas,
        max_surge,
        max_unavailable,
    }
}

#[test]
fn the_new_set_grows_by_the_surge_first() {
    assert_eq!(roll(limits(10, 3, 2), &set(0, 0), &[set(10, 10)]), (3, vec![10]));
}

#[test]
fn old_sets_shrink_by_what_may_be_unavailable() {
    assert_eq!(roll(limits(10, 3, 2), &set(3, 0), &[set(10, 10)]), (3, vec![8]));
}

#[test]
fn unavailable_old_pods_go_before_available_ones() {
    assert_eq!(
        roll(limits(10, 0, 1), &set(0, 0), &[set(5, 5), set(5, 2)]),
        (0, vec![5, 4])
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    assert_eq!(recreate(limits(3, 0, 0), &set(0, 0), &[set(3, 3)], true), (0, vec![0]));
    assert_eq!(recreate(limits(3, 0, 0), &set(0, 0), &[set(0, 0)], true), (0, vec![0]));
    assert_eq!(recreate(limits(3, 0, 0), &set(0, 0), &[set(0, 0)], false), (3, vec![0]));
}

#[test]
fn a_resize_without_a_rollout_goes_to_the_only_active_set() {
    assert_eq!(resize(limits(7, 2, 0), &[set(3, 3), set(0, 0)], Some(0), true), [7, 0]);
}

#[test]
fn a_resize_during_a_rollout_is_shared() {
    let sized = |replicas| Set {
        replicas,
        available: replicas,
        sized_for: Some(10),
        sized_for_most: Some(13),
    };
    let sizes = resize(limits(15, 4, 2), &[sized(5), sized(8)], Some(0), true);
    assert_eq!(sizes, [7, 12]);
}

/// Plays a rollout: pods of the new set become available, in the worst case one set at a time.
fn play(limits: Limits, old: Vec<i32>, available: &[bool]) -> Result<(), TestCaseError> {
    let mut old: Vec<Set> = old.into_iter().map(|size| set(size, size)).collect();
    let mut new = set(0, 0);
    let start = old.iter().map(|set| set.available).sum::<i32>();
    for step in 0..1000 {
        let (size, sizes) = roll(limits, &new, &old);
        let moved = size != new.replicas || old.iter().zip(&sizes).any(|(set, size)| set.replicas != *size);
        let grown = size > new.replicas;
        new.replicas = size;
        new.available = new.available.min(size);
        for (set, size) in old.iter_mut().zip(sizes) {
            set.replicas = size;
            set.available = set.available.min(size);
        }
        let total = new.replicas + old.iter().map(|set| set.replicas).sum::<i32>();
        let serving = new.available + old.iter().map(|set| set.available).sum::<i32>();
        prop_assert!(!grown || total <= limits.replicas + limits.max_surge, "{total} pods");
        prop_assert!(
            serving >= (limits.replicas - limits.max_unavailable).min(start),
            "{serving} available"
        );
        if !moved {
            if new.available == new.replicas {
                prop_assert_eq!((new.replicas, total), (limits.replicas, limits.replicas));
                return Ok(());
            }
            new.available += 1;
        } else if available[step % available.len()] && new.available < new.replicas {
            new.available += 1;
        }
    }
    Err(TestCaseError::fail("the rollout does not end"))
}

proptest! {
    #[test]
    fn a_rollout_ends_and_keeps_its_limits(
        replicas in 0..30_i32, surge in 0..10_i32, unavailable in 0..10_i32,
        split in 0..30_i32, available in prop::collection::vec(any::<bool>(), 1..10),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let first = split.min(replicas);
        play(limits(replicas, surge, unavailable), vec![first, replicas - first], &available)?;
    }

    #[test]
    fn a_resize_hands_out_exactly_what_is_allowed(
        replicas in 1..50_i32, surge in 0..10_i32, before in 1..50_i32, sizes in prop::collection::vec(1..30_i32, 2..5),
    ) {
        let limits = limits(replicas, surge, 0);
        let total: i32 = sizes.iter().sum();
        let sets: Vec<_> = sizes.iter().map(|size| Set { replicas: *size, available: 0, sized_for: Some(before), sized_for_most: Some(total) }).collect();
        let sizes = resize(limits, &sets, Some(0), true);
        prop_assert!(sizes.iter().all(|size| *size >= 0));
        prop_assert_eq!(sizes.iter().sum::<i32>(), limits.most());
    }
}
