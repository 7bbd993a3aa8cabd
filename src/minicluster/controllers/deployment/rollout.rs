//! How the sizes of a Deployment's ReplicaSets move, one step at a time.
//!
//! Objective: reach `replicas` pods of the newest template. Constraints: never more than
//! `replicas + max_surge` pods asked for, never fewer than `replicas - max_unavailable` available
//! ones on our account. A step either grows the new set or shrinks old ones; the next step is taken
//! when the pods have followed.

/// A ReplicaSet as the steps see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    /// Replicas asked for.
    pub(crate) replicas: i32,
    /// Pods available now.
    pub(crate) available: i32,
    /// The Deployment's size when this set was last sized (annotation), if known.
    pub(crate) sized_for: Option<i32>,
    /// Greatest total of pods when this set was last sized (annotation), if known.
    pub(crate) sized_for_most: Option<i32>,
}

/// What a Deployment allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Pods wanted.
    pub(crate) replicas: i32,
    /// Pods above that which may exist during the rollout.
    pub(crate) max_surge: i32,
    /// Pods below that which may be unavailable.
    pub(crate) max_unavailable: i32,
}

impl Limits {
    /// The greatest number of pods.
    pub(crate) fn most(&self) -> i32 {
        if self.replicas > 0 {
            self.replicas + self.max_surge
        } else {
            0
        }
    }
}

/// The next sizes in a rolling update: of the new set and of the old ones, which are given oldest first.
pub(crate) fn roll(limits: Limits, new: &Set, old: &[Set]) -> (i32, Vec<i32>) {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.replicas).collect();
    let total = new.replicas + sizes.iter().sum::<i32>();
    if new.replicas > limits.replicas {
        return (limits.replicas, sizes);
    }
    let room = (limits.replicas + limits.max_surge - total).clamp(0, limits.replicas - new.replicas);
    if room > 0 {
        return (new.replicas + room, sizes);
    }
    let least_available = limits.replicas - limits.max_unavailable;
    let new_unavailable = (new.replicas - new.available).max(0);
    let mut spare = total - least_available - new_unavailable;
    // Pods that do not serve anyway go first.
    for (size, set) in sizes.iter_mut().zip(old) {
        let cut = (*size - set.available).clamp(0, spare.max(0));
        *size -= cut;
        spare -= cut;
    }
    let available = new.available + old.iter().map(|set| set.available).sum::<i32>();
    let mut spare = (available - least_available).max(0);
    for (size, set) in sizes.iter_mut().zip(old) {
        let cut = (*size).min(set.available).clamp(0, spare);
        *size -= cut;
        spare -= cut;
    }
    (new.replicas, sizes)
}

/// Whether the Deployment was resized since its sets were sized.
pub(crate) fn is_resized(limits: Limits, sets: &[Set]) -> bool {
    sets.iter()
        .any(|set| set.replicas > 0 && set.sized_for.is_some_and(|sized_for| sized_for != limits.replicas))
}

/// The sizes after the Deployment was resized: in the middle of a rollout every set gets its share,
/// so that a rollout that went wrong does not get all the new pods. `sets` is newest first; `new` is
/// the index of the current template's set, if it exists. `rolling`: surplus pods may exist.
pub(crate) fn resize(limits: Limits, sets: &[Set], new: Option<usize>, rolling: bool) -> Vec<i32> {
    let mut sizes: Vec<i32> = sets.iter().map(|set| set.replicas).collect();
    let active: Vec<usize> = (0..sets.len()).filter(|index| sizes[*index] > 0).collect();
    if active.len() <= 1 {
        if let Some(index) = active.first().copied().or(new).or((!sets.is_empty()).then_some(0)) {
            sizes[index] = limits.replicas;
        }
        return sizes;
    }
    let saturated = new.is_some_and(|new| {
        let set = &sets[new];
        set.replicas == limits.replicas && set.sized_for == Some(limits.replicas) && set.available == limits.replicas
    });
    if saturated {
        for (index, size) in sizes.iter_mut().enumerate() {
            if Some(index) != new {
                *size = 0;
            }
        }
        return sizes;
    }
    if !rolling {
        return sizes;
    }
    share(limits, sets, &active, &mut sizes);
    sizes
}

/// Distributes the difference to the allowed total over the active sets in proportion to their sizes.
fn share(limits: Limits, sets: &[Set], active: &[usize], sizes: &mut [i32]) {
    let total: i32 = active.iter().map(|index| sizes[*index]).sum();
    let to_add = limits.most() - total;
    let mut order = active.to_vec();
    // The greatest first; among equals the newer one grows first and the older one shrinks first.
    if to_add > 0 {
        order.sort_by_key(|index| (-sizes[*index], *index));
    } else {
        order.sort_by_key(|index| (-sizes[*index], usize::MAX - *index));
    }
    let mut added = 0;
    for index in &order {
        let share = if to_add == 0 {
            0
        } else {
            proportion(limits, &sets[*index], to_add, added)
        };
        sizes[*index] += share;
        added += share;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + to_add - added).max(0);
    }
}

fn proportion(limits: Limits, set: &Set, to_add: i32, added: i32) -> i32 {
    let before = i64::from(
        set.sized_for_most
            .filter(|most| *most > 0)
            .unwrap_or(limits.replicas.max(1)),
    );
    let product = i64::from(set.replicas) * i64::from(limits.most());
    // Rounded half up.
    let fraction = (2 * product + before).div_euclid(2 * before) - i64::from(set.replicas);
    let fraction = i32::try_from(fraction).unwrap_or(0);
    let left = to_add - added;
    if to_add > 0 {
        fraction.clamp(0, left.max(0))
    } else {
        fraction.clamp(left.min(0), 0)
    }
}

/// The next sizes with strategy Recreate: no pod of the new template before the last old one has ended.
pub(crate) fn recreate(limits: Limits, new: &Set, old: &[Set], old_pods_run: bool) -> (i32, Vec<i32>) {
    let gone = vec![0; old.len()];
    if old_pods_run || old.iter().any(|set| set.replicas > 0) {
        (new.replicas, gone)
    } else {
        (limits.replicas, gone)
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
