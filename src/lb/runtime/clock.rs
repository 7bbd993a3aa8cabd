//! Time for the hot path: milliseconds since start, read from memory and set by a ticker.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How often the ticker sets the clock: the resolution of everything that reads it.
pub const RESOLUTION: Duration = Duration::from_millis(50);

/// A clock that costs a load to read.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    now_ms: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            now_ms: AtomicU64::new(0),
        }
    }
}

impl Clock {
    /// Milliseconds since start, as of the last [`Self::tick`].
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    /// The same as a duration.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }

    /// Reads the real clock.
    pub fn tick(&self) -> Duration {
        let now = self.started.elapsed();
        self.now_ms
            .store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        now
    }
}
