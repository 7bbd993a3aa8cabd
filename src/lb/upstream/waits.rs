//! Waiting for endpoints, with a deadline and an eye on the endpoint's health.
//!
//! A timer per request would cost more than what it guards. Requests that wait for an answer are in one list per worker;
//! the worker's ticker looks through it and ends the waits whose time is over or whose endpoint has been found dead
//! since: a request to a cluster that was cut off moves on in seconds, not at its timeout. One that has nowhere to go
//! goes on waiting ([`Wait::insist`]): the endpoint may only be slow.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use parking_lot::Mutex;

use crate::runtime::Endpoint;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its time is over.
    TimedOut,
    /// The endpoint has been found dead since.
    EndpointDead,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    since_ms: u64,
    deadline_ms: u64,
    waker: Waker,
    verdict: Option<Verdict>,
}

/// All waits of a worker.
#[derive(Debug, Default)]
pub struct Waits(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
}

impl Waits {
    /// Ends the waits that have to.
    pub fn sweep(&self, now_ms: u64) {
        for slot in self
            .0
            .lock()
            .slots
            .iter_mut()
            .flatten()
            .filter(|slot| slot.verdict.is_none())
        {
            let dead = slot.endpoint.dead_at_ms().is_some_and(|at| at > slot.since_ms);
            let timed_out = now_ms >= slot.deadline_ms;
            if dead || timed_out {
                slot.verdict = Some(if timed_out {
                    Verdict::TimedOut
                } else {
                    Verdict::EndpointDead
                });
                slot.waker.wake_by_ref();
            }
        }
    }
}

/// One wait; it is registered when it first has to wait and forgotten when dropped.
#[derive(Debug)]
pub struct Wait<'a> {
    waits: &'a Waits,
    endpoint: &'a Arc<Endpoint>,
    since_ms: u64,
    deadline_ms: u64,
    slot: Option<usize>,
}

impl<'a> Wait<'a> {
    /// A wait for `endpoint` from `now_ms` for at most `limit_ms`.
    pub fn new(waits: &'a Waits, endpoint: &'a Arc<Endpoint>, now_ms: u64, limit_ms: u64) -> Self {
        Self {
            waits,
            endpoint,
            since_ms: now_ms,
            deadline_ms: now_ms.saturating_add(limit_ms),
            slot: None,
        }
    }

    /// Called whenever the awaited thing is pending: why to stop waiting, if there is a reason.
    pub fn pending(&mut self, cx: &Context<'_>) -> Option<Verdict> {
        let mut slots = self.waits.0.lock();
        if let Some(slot) = self.slot.and_then(|index| slots.slots.get_mut(index)?.as_mut()) {
            if !slot.waker.will_wake(cx.waker()) {
                slot.waker.clone_from(cx.waker());
            }
            return slot.verdict;
        }
        let slot = Slot {
            endpoint: Arc::clone(self.endpoint),
            since_ms: self.since_ms,
            deadline_ms: self.deadline_ms,
            waker: cx.waker().clone(),
            verdict: None,
        };
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                slots.slots.push(None);
                slots.slots.len() - 1
            }
        };
        slots.slots[index] = Some(slot);
        self.slot = Some(index);
        None
    }

    /// Goes on waiting for an endpoint that was found dead, until the deadline.
    pub fn insist(&mut self) {
        self.since_ms = u64::MAX;
        let mut slots = self.waits.0.lock();
        if let Some(slot) = self.slot.and_then(|index| slots.slots.get_mut(index)?.as_mut()) {
            slot.since_ms = u64::MAX;
            slot.verdict = None;
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.slot {
            let mut slots = self.waits.0.lock();
            slots.slots[index] = None;
            slots.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::endpoint::{Address, Identity};

    fn endpoint() -> Arc<Endpoint> {
        let identity = Identity {
            address: Address::new("127.0.0.1", 1),
            protocol: Default::default(),
            backend: "b".into(),
        };
        Arc::new(Endpoint::new(1, identity, "eu".into(), 0, true))
    }

    fn die(endpoint: &Endpoint, now_ms: u64) {
        while endpoint.silent(now_ms) {}
    }

    #[test]
    fn a_wait_ends_at_its_deadline_or_when_the_endpoint_is_dead_and_leaves_no_trace() {
        let (waits, endpoint) = (Waits::default(), endpoint());
        let cx = Context::from_waker(Waker::noop());
        let mut wait = Wait::new(&waits, &endpoint, 100, 1000);
        assert_eq!(wait.pending(&cx), None);
        waits.sweep(1099);
        assert_eq!(wait.pending(&cx), None);
        waits.sweep(1100);
        assert_eq!(wait.pending(&cx), Some(Verdict::TimedOut));
        drop(wait);

        let mut wait = Wait::new(&waits, &endpoint, 100, 1000);
        assert_eq!(wait.pending(&cx), None);
        assert_eq!(waits.0.lock().slots.len(), 1, "slots are used again");
        die(&endpoint, 150);
        waits.sweep(200);
        assert_eq!(wait.pending(&cx), Some(Verdict::EndpointDead));
    }

    #[test]
    fn a_wait_that_insists_outlives_the_endpoints_death_but_not_its_deadline() {
        let (waits, endpoint) = (Waits::default(), endpoint());
        let cx = Context::from_waker(Waker::noop());
        let mut wait = Wait::new(&waits, &endpoint, 100, 1000);
        assert_eq!(wait.pending(&cx), None);
        die(&endpoint, 150);
        waits.sweep(200);
        wait.insist();
        waits.sweep(250);
        assert_eq!(wait.pending(&cx), None);
        waits.sweep(1100);
        assert_eq!(wait.pending(&cx), Some(Verdict::TimedOut));
    }

    #[test]
    fn refused_connections_end_no_wait() {
        let (waits, endpoint) = (Waits::default(), endpoint());
        let cx = Context::from_waker(Waker::noop());
        let mut wait = Wait::new(&waits, &endpoint, 100, 1000);
        assert_eq!(wait.pending(&cx), None);
        for _ in 0..10 {
            endpoint.connect_failed(120, 120);
            endpoint.probed(false, 120, 1, 1);
        }
        waits.sweep(200);
        assert_eq!((endpoint.is_healthy(), wait.pending(&cx)), (false, None));
    }

    #[test]
    fn a_request_sent_to_an_endpoint_that_was_dead_already_may_still_wait() {
        let (waits, endpoint) = (Waits::default(), endpoint());
        die(&endpoint, 50);
        let cx = Context::from_waker(Waker::noop());
        let mut wait = Wait::new(&waits, &endpoint, 100, 1000);
        assert_eq!(wait.pending(&cx), None);
        waits.sweep(200);
        assert_eq!(wait.pending(&cx), None);
    }
}
