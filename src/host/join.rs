// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Several operations that are one to their request: they count themselves down, and the last one lands. Model-checked with
//! loom, together with [`Park`](super::park::Park).

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many operations have not ended, the starter's own share included.
#[derive(Debug)]
pub(crate) struct Join {
    remaining: AtomicUsize,
}

impl Join {
    /// Nothing has been started.
    pub(crate) fn new() -> Self {
        Self { remaining: AtomicUsize::new(0) }
    }

    /// Starter: `operations` are about to be started. The starter has a share of its own, which it gives up with
    /// [`Join::end`] before it sleeps.
    pub(crate) fn begin(&self, operations: usize) {
        self.remaining.store(operations.saturating_add(1), Ordering::Relaxed);
    }

    /// Starter, before it gives up its share: whether all operations have ended. Then none of them lands.
    pub(crate) fn only_starter_left(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 1
    }

    /// An operation has ended, or the starter gives up its share. True for the last one, which has to land; the others are
    /// done with all of this.
    pub(crate) fn end(&self) -> bool {
        self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Starter, after it has given up its share: whether all operations have ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::super::park::Park;
    use super::*;
    use loom::sync::atomic::AtomicBool;
    use loom::sync::Arc;
    use loom::thread;

    /// A request whose owner starts two operations and sleeps until both have ended.
    struct Model {
        park: Park,
        join: Join,
        done: [AtomicBool; 2],
        wakes: AtomicUsize,
        owner: thread::Thread,
    }

    impl Model {
        fn land(&self) {
            self.park.land(|| {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                self.owner.unpark();
            });
        }

        fn operation(&self, index: usize) {
            self.done[index].store(true, Ordering::Relaxed);
            if self.join.end() {
                self.land();
            }
        }
    }

    fn run(inside_start: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let model = Arc::new(Model {
                park: Park::new(),
                join: Join::new(),
                done: [AtomicBool::new(false), AtomicBool::new(false)],
                wakes: AtomicUsize::new(0),
                owner: thread::current(),
            });
            let mut parks = 0;
            model.join.begin(2);
            let mut threads = Vec::new();
            for index in 0..2 {
                if index < inside_start {
                    model.operation(index);
                    continue;
                }
                let model = Arc::clone(&model);
                threads.push(thread::spawn(move || model.operation(index)));
            }
            if !model.join.only_starter_left() {
                model.park.take_off();
                if model.join.end() {
                    model.land();
                }
                loop {
                    model.park.begin_poll();
                    if model.join.all_ended() {
                        break;
                    }
                    if model.park.try_park() {
                        parks += 1;
                        while model.park.is_parked() {
                            thread::park();
                        }
                    }
                }
            }
            assert!(model.done.iter().all(|done| done.load(Ordering::Relaxed)));
            while model.park.in_flight() {
                model.park.begin_poll();
                if model.park.in_flight() && model.park.try_park() {
                    parks += 1;
                    while model.park.is_parked() {
                        thread::park();
                    }
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(parks <= 1);
            assert_eq!(model.wakes.load(Ordering::Relaxed), parks);
        });
    }

    #[test]
    fn two_operations_on_two_threads_wake_the_starter_once() {
        run(0);
    }

    #[test]
    fn one_operation_inside_start_and_one_on_a_thread_wake_the_starter_once() {
        run(1);
    }

    #[test]
    fn two_operations_inside_start_need_no_wake() {
        run(2);
    }
}
