// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Who is inside of a gate, in one atomic word; model-checked with loom.
//!
//! Passing an open turnstile and leaving it costs one atomic operation each. Whoever comes to a closed one counts for a moment
//! all the same; so the one who closed it may have to wait for somebody who never got in, and is told when that one has gone.

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nobody may pass.
const CLOSED: usize = 1;
/// One inside; the count stands above the flag.
const INSIDE: usize = 2;

/// The word.
#[derive(Debug)]
pub(crate) struct Turnstile {
    word: AtomicUsize,
}

impl Turnstile {
    /// An open one with nobody inside.
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// Tries to pass. The caller counts as inside in any case, and has to [`Turnstile::leave`] at once if this is false.
    pub(crate) fn enter(&self) -> bool {
        self.word.fetch_add(INSIDE, Ordering::Acquire) & CLOSED == 0
    }

    /// Leaves. True if the turnstile is closed and nobody is inside any more: who closed it must be told, if it is still so by the
    /// time that one is found, see [`Turnstile::is_closed_and_empty`]. Of those who come and go meanwhile the last one finds it so.
    pub(crate) fn leave(&self) -> bool {
        self.word.fetch_sub(INSIDE, Ordering::AcqRel) == INSIDE | CLOSED
    }

    /// Closes it. True if nobody is inside; else a later `leave` is true.
    pub(crate) fn close(&self) -> bool {
        self.word.fetch_or(CLOSED, Ordering::AcqRel) < INSIDE
    }

    /// Closes it if it is open and nobody is inside; else nothing changes, not for a moment: whoever leaves then must not believe
    /// that somebody waits for it.
    pub(crate) fn try_close(&self) -> bool {
        self.word.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Opens it again. Only by the one who closed it.
    pub(crate) fn open(&self) {
        self.word.fetch_and(!CLOSED, Ordering::Release);
    }

    /// Whether it is closed and nobody is inside, not even somebody who was turned away.
    pub(crate) fn is_closed_and_empty(&self) -> bool {
        self.word.load(Ordering::Acquire) == CLOSED
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicBool;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// What stands behind the turnstile, and where the one who closes it waits to be told, as in a gate.
    struct Model {
        turnstile: Turnstile,
        closer: Mutex<Option<Arc<AtomicBool>>>,
        value: UnsafeCell<usize>,
    }

    // SAFETY: the turnstile is what is modelled; loom finds accesses that overlap.
    unsafe impl Sync for Model {}

    impl Model {
        fn pass(&self) {
            if self.turnstile.enter() {
                // SAFETY: as above.
                self.value.with(|value| unsafe { assert!(*value <= 2) });
            }
            if self.turnstile.leave() {
                let mut closer = self.closer.lock().unwrap();
                if self.turnstile.is_closed_and_empty() {
                    if let Some(told) = closer.take() {
                        told.store(true, Ordering::Release);
                    }
                }
            }
        }

        fn be_alone(&self) {
            let told = Arc::new(AtomicBool::new(false));
            let mut closer = self.closer.lock().unwrap();
            let empty = self.turnstile.close();
            if !empty {
                *closer = Some(Arc::clone(&told));
            }
            drop(closer);
            while !empty && !told.load(Ordering::Acquire) {
                thread::yield_now();
            }
            // SAFETY: as above.
            self.value.with_mut(|value| unsafe { *value += 1 });
            self.turnstile.open();
        }
    }

    /// Models two that pass while `close` is done; afterwards it must be open.
    fn beside_two_passers(close: fn(&Model)) {
        let mut builder = loom::model::Builder::new();
        // A forgotten check in `leave` is found with four already; without a bound it takes minutes.
        builder.preemption_bound = Some(5);
        builder.check(move || {
            let model = Arc::new(Model {
                turnstile: Turnstile::new(),
                closer: Mutex::new(None),
                value: UnsafeCell::new(0),
            });
            let passers: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.pass())
                })
                .collect();
            close(&model);
            for passer in passers {
                passer.join().unwrap();
            }
            assert!(model.turnstile.enter());
        });
    }

    #[test]
    fn whoever_closes_is_alone_once_it_is_empty() {
        beside_two_passers(Model::be_alone);
    }

    #[test]
    fn whoever_closes_it_again_is_alone_too() {
        beside_two_passers(|model| {
            model.be_alone();
            model.be_alone();
        });
    }

    #[test]
    fn whoever_can_close_it_at_once_is_alone() {
        beside_two_passers(|model| {
            if model.turnstile.try_close() {
                // SAFETY: as above.
                model.value.with_mut(|value| unsafe { *value += 1 });
                model.turnstile.open();
            } else {
                assert!(!model.turnstile.is_closed());
            }
        });
    }
}
