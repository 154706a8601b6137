// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The park/wake state of one request, in one atomic word; model-checked with loom.
//!
//! A request has one owner (the coroutine or thread that polls it) and any number of operations in flight, which land on
//! foreign threads. The word holds the number of operations in flight and three flags. All that a landing operation needs is
//! decided by one compare-and-swap, after which it touches the request only if it owes the wake-up. Hence:
//!
//! - exactly one wake-up per park: whoever clears `PARKED` wakes, and nobody else can;
//! - no use after return: the owner returns only when nothing is in flight, and a landing operation is done with the request the
//!   moment its count is gone. One that owes a wake-up may still use a coroutine, which sleeps until that comes; but a thread looks
//!   before it sleeps, and may have returned by then: what wakes it is taken from the request beforehand.

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something landed since the owner last looked.
const NOTIFIED: usize = 1;
/// The owner sleeps, or is about to, and must be woken.
const PARKED: usize = 2;
/// The owner sleeps until nothing is in flight any more.
const PATIENT: usize = 4;
/// One operation in flight; the count stands above the flags.
const IN_FLIGHT: usize = 8;

/// The state of one request.
#[derive(Debug)]
pub(crate) struct Park {
    word: AtomicUsize,
}

impl Park {
    /// A request with nothing in flight.
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Owner: an operation is about to be submitted.
    pub(crate) fn take_off(&self) {
        self.word.fetch_add(IN_FLIGHT, Ordering::Relaxed);
    }

    /// Any thread: an operation has its result. Calls `wake` if the owner sleeps and waits for this one; nothing else may follow.
    pub(crate) fn land(&self, wake: impl FnOnce()) {
        let mut word = self.word.load(Ordering::Relaxed);
        let mut sleeps_on;
        loop {
            let landed = word.wrapping_sub(IN_FLIGHT) | NOTIFIED;
            sleeps_on = word & PATIENT != 0 && landed >= IN_FLIGHT;
            let next = if sleeps_on { landed } else { landed & !(PARKED | PATIENT) };
            // Release publishes the result; Acquire makes the parked task's identity visible to `wake`.
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & PARKED != 0 && !sleeps_on {
            wake();
        }
    }

    /// Owner: results that land from here on are seen as new.
    pub(crate) fn begin_poll(&self) {
        self.word.fetch_and(!NOTIFIED, Ordering::Acquire);
    }

    /// Owner: announces sleep. False if something landed since [`Park::begin_poll`]; then look again instead.
    pub(crate) fn try_park(&self) -> bool {
        self.try_set(PARKED, |word| word & NOTIFIED == 0)
    }

    /// Owner: announces sleep until nothing is in flight. False if nothing is.
    pub(crate) fn try_park_until_settled(&self) -> bool {
        self.try_set(PARKED | PATIENT, |word| word >= IN_FLIGHT)
    }

    /// Sets flags if the word allows it.
    fn try_set(&self, flags: usize, allowed: impl Fn(usize) -> bool) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if !allowed(word) {
                return false;
            }
            match self.word.compare_exchange_weak(word, word | flags, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Owner: whether the wake-up of the last successful [`Park::try_park`] is still to come.
    pub(crate) fn is_parked(&self) -> bool {
        self.word.load(Ordering::Acquire) & PARKED != 0
    }

    /// Owner: whether operations are in flight.
    pub(crate) fn in_flight(&self) -> bool {
        self.word.load(Ordering::Acquire) >= IN_FLIGHT
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::atomic::AtomicBool;
    use loom::sync::Arc;
    use loom::thread;

    /// A request whose owner, a thread, parks until every operation has landed, counting the wake-ups it was sent.
    struct Model {
        park: Park,
        done: [AtomicBool; 2],
        wakes: AtomicUsize,
        parks: AtomicUsize,
        owner: thread::Thread,
        /// The owner has returned, and the request is gone.
        gone: AtomicBool,
    }

    impl Model {
        fn operation(&self, index: usize) {
            self.done[index].store(true, Ordering::Relaxed);
            let owner = self.owner();
            self.park.land(|| {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                owner.unpark();
            });
        }

        /// What wakes the owner.
        fn owner(&self) -> thread::Thread {
            assert!(!self.gone.load(Ordering::Acquire));
            self.owner.clone()
        }

        fn wait(&self, patient: bool) {
            let parked = if patient { self.park.try_park_until_settled() } else { self.park.try_park() };
            if parked {
                self.parks.fetch_add(1, Ordering::Relaxed);
                while self.park.is_parked() {
                    thread::park();
                }
            }
        }
    }

    fn run(operations: usize, before_submit_returns: bool) {
        run_as(operations, before_submit_returns, false);
    }

    /// A patient owner sleeps once at most, however many operations there are.
    fn run_as(operations: usize, before_submit_returns: bool, patient: bool) {
        let mut builder = loom::model::Builder::new();
        // All interleavings with up to three preemptions; without a bound it takes hours.
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let model = Arc::new(Model {
                park: Park::new(),
                done: [AtomicBool::new(false), AtomicBool::new(false)],
                wakes: AtomicUsize::new(0),
                parks: AtomicUsize::new(0),
                owner: thread::current(),
                gone: AtomicBool::new(false),
            });
            let mut threads = Vec::new();
            for index in 0..operations {
                model.park.take_off();
                if before_submit_returns && index == 0 {
                    model.operation(index);
                    continue;
                }
                let model = Arc::clone(&model);
                threads.push(thread::spawn(move || model.operation(index)));
            }
            loop {
                model.park.begin_poll();
                if (0..operations).all(|i| model.done[i].load(Ordering::Relaxed)) {
                    break;
                }
                model.wait(patient);
            }
            while model.park.in_flight() {
                model.park.begin_poll();
                if model.park.in_flight() {
                    model.wait(patient);
                }
            }
            model.gone.store(true, Ordering::Release);
            for thread in threads {
                thread.join().unwrap();
            }
            let parks = model.parks.load(Ordering::Relaxed);
            assert_eq!(model.wakes.load(Ordering::Relaxed), parks);
            assert!(!patient || parks <= 1);
        });
    }

    #[test]
    fn one_operation_on_another_thread_wakes_once_per_park() {
        run(1, false);
    }

    #[test]
    fn an_operation_that_lands_before_submit_returns_needs_no_park() {
        run(1, true);
    }

    #[test]
    fn two_operations_on_two_threads_lose_no_wake() {
        run(2, false);
    }

    #[test]
    fn one_operation_inside_submit_and_one_on_a_thread_lose_no_wake() {
        run(2, true);
    }

    #[test]
    fn a_patient_owner_of_two_operations_is_woken_once() {
        run_as(2, false, true);
    }

    #[test]
    fn a_patient_owner_of_an_operation_that_landed_in_submit_and_another_is_woken_once() {
        run_as(2, true, true);
    }
}
