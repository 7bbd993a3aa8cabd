//! The one way to wait: a condition, a limit, and what was seen last if it never holds.

use std::time::{Duration, Instant};

/// Asks `condition` until it answers `Ok`, at most for `limit`.
///
/// # Panics
/// With what the condition last said, if it never held: a test has then failed.
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > limit => {
                panic!("{what}: not within {} s; last seen: {seen}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
