// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Runs a driver's future: polls it, and lets the coroutine or the thread sleep while it is pending.
//!
//! There is no executor and no allocation: the future and its [`Request`] live on the caller's stack. Operations wake
//! their request directly, so no `Waker` is involved.

use std::ffi::c_void;
use std::future::{poll_fn, Future};
use std::pin::pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};

use super::park::Park;
use super::unwind::{self, Panicked};
use crate::sys::host::{
    qbr_host_co_self, qbr_host_co_wake, qbr_host_co_yield, qbr_host_in_coroutine, QbrTask,
};

/// One call from QEMU: what its operations in flight belong to.
///
/// # Invariants
/// It does not move or end while an operation is in flight; only [`block_on`] makes one.
#[derive(Debug)]
pub struct Request {
    park: Park,
    /// The owner wants to sleep until everything has landed. Only the owner uses it.
    patient: AtomicBool,
    owner: Owner,
}

/// Who sleeps while operations are in flight.
#[derive(Debug)]
enum Owner {
    /// A coroutine. Both are written before it parks and read by the one who clears the parked state.
    Coroutine { co: AtomicPtr<c_void>, ctx: AtomicPtr<c_void> },
    /// A thread outside of coroutines, as in open and close: it blocks, as the C drivers' synchronous calls do.
    Thread(Thread),
}

impl Request {
    /// A request of the calling coroutine or thread.
    fn new() -> Self {
        // SAFETY: no precondition.
        let in_coroutine = unsafe { qbr_host_in_coroutine() };
        let owner = if in_coroutine {
            Owner::Coroutine { co: AtomicPtr::new(ptr::null_mut()), ctx: AtomicPtr::new(ptr::null_mut()) }
        } else {
            Owner::Thread(thread::current())
        };
        Self { park: Park::new(), patient: AtomicBool::new(false), owner }
    }

    /// An operation is about to be submitted.
    pub(super) fn take_off(&self) {
        self.park.take_off();
    }

    /// An operation has its result. Any thread. The request may be gone when this returns.
    pub(super) fn land(&self) {
        match &self.owner {
            Owner::Coroutine { co, ctx } => self.park.land(|| {
                let task = QbrTask { co: co.load(Ordering::Relaxed), ctx: ctx.load(Ordering::Relaxed) };
                // SAFETY: the coroutine wrote both before it parked, and it stays suspended until this very call.
                unsafe { qbr_host_co_wake(task) }
            }),
            Owner::Thread(thread) => {
                // Its own handle: the owner may see that it has landed, and be gone, before it is woken.
                let thread = thread.clone();
                self.park.land(move || thread.unpark());
            }
        }
    }

    /// Whether the caller is a coroutine, so that others run while it sleeps.
    #[must_use]
    pub fn is_coroutine(&self) -> bool {
        matches!(self.owner, Owner::Coroutine { .. })
    }

    /// Whether an operation is with its library.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.park.in_flight()
    }

    /// Waits until every operation of the request has landed, with one wake-up for all of them.
    pub async fn settled(&self) {
        poll_fn(|_| {
            if !self.park.in_flight() {
                return Poll::Ready(());
            }
            self.patient.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }

    /// Announces sleep; false if there is no reason to.
    fn try_park(&self) -> bool {
        if self.patient.swap(false, Ordering::Relaxed) {
            self.park.try_park_until_settled()
        } else {
            self.park.try_park()
        }
    }

    /// Sleeps until an operation has landed since the last `begin_poll`, or all have, if the future is in `settled`.
    fn wait(&self) {
        match &self.owner {
            Owner::Coroutine { co, ctx } => {
                // The event loop may be another one than at the last park.
                // SAFETY: `new` found the caller in a coroutine, and a request stays in its coroutine.
                let task = unsafe { qbr_host_co_self() };
                co.store(task.co, Ordering::Relaxed);
                ctx.store(task.ctx, Ordering::Relaxed);
                if self.try_park() {
                    // The wake-up may be scheduled already; it is consumed by this yield, so there must be one. Should
                    // somebody else enter the coroutine, it goes back to sleep.
                    loop {
                        // SAFETY: in a coroutine; whoever clears the parked state wakes it.
                        unsafe { qbr_host_co_yield() }
                        if !self.park.is_parked() {
                            break;
                        }
                    }
                }
            }
            Owner::Thread(_) => {
                if self.try_park() {
                    while self.park.is_parked() {
                        thread::park();
                    }
                }
            }
        }
    }
}

/// Runs `start`'s future to its end and returns its value.
///
/// In a coroutine the coroutine is suspended while the future is pending; elsewhere the thread blocks. Returns only when
/// every operation that the future submitted has called back, so what a request borrows may be lent to the library.
///
/// # Errors
/// [`Panicked`] if the future panicked.
pub fn block_on<T>(start: impl AsyncFnOnce(&Request) -> T) -> Result<T, Panicked> {
    let request = Request::new();
    let mut future = pin!(start(&request));
    let mut context = Context::from_waker(Waker::noop());
    let result = loop {
        request.park.begin_poll();
        // The panic stops here and not further out, so that no other coroutine runs while this thread unwinds.
        match unwind::catch(|| future.as_mut().poll(&mut context)) {
            Ok(Poll::Ready(value)) => break Ok(value),
            Ok(Poll::Pending) => request.wait(),
            Err(panicked) => break Err(panicked),
        }
    };
    // Operations that the future did not wait for, as after a panic.
    while request.park.in_flight() {
        request.park.begin_poll();
        if request.park.in_flight() {
            request.wait();
        }
    }
    result
}
