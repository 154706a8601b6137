// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Completions: one submitted operation, from submission to its result.
//!
//! A library is handed a pointer to a [`Slot`] and calls back with it, maybe before the submit call returns, maybe on another
//! thread. Slots live for ever in a pool, and the pointer carries the slot's generation in its low bits: a callback that
//! comes twice or late finds a slot that is not its own and is ignored.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use super::request::Request;
use crate::errno::Errno;

/// The operation is with the library.
const ARMED: u32 = 1;
/// The callback is running.
const CLAIMED: u32 = 2;
/// The result is there.
const DONE: u32 = 4;
/// The future is gone; the callback gives the slot back.
const ABANDONED: u32 = 8;
/// One generation, above the flags.
const GENERATION: u32 = 16;

/// Slots are aligned so that the low bits of their address can carry a generation.
const ALIGN: usize = 64;
/// How many slots the pool grows by.
const CHUNK: usize = 64;

/// Where the result of one operation arrives.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    state: AtomicU32,
    result: AtomicI64,
    /// Valid while the operation is in flight: `host::block_on` waits for it.
    request: AtomicPtr<Request>,
}

/// Free slots, oldest first, so that a slot rests as long as possible before it is used again.
static FREE: Mutex<VecDeque<&'static Slot>> = Mutex::new(VecDeque::new());

/// Callbacks that came twice or late, since the archive was loaded.
static STRAY: AtomicU64 = AtomicU64::new(0);

impl Slot {
    /// A slot of the caller's own.
    fn take() -> Result<&'static Self, Errno> {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = free.pop_front() {
            return Ok(slot);
        }
        // All slots that ever were are out; the queue needs room for them and for the new ones.
        let mut chunk: Vec<Self> = Vec::new();
        chunk.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
        let room = free.capacity().saturating_add(CHUNK);
        // Exactly: `try_reserve` would double the room for each chunk, as the queue is empty.
        free.try_reserve_exact(room).map_err(|_| Errno::ENOMEM)?;
        chunk.resize_with(CHUNK, || Self {
            state: AtomicU32::new(0),
            result: AtomicI64::new(0),
            request: AtomicPtr::new(ptr::null_mut()),
        });
        free.extend(chunk.leak().iter());
        free.pop_front().ok_or(Errno::ENOMEM)
    }

    /// Gives the slot back; pointers that the library may still hold no longer match it.
    fn release(&'static self) {
        let next =
            (self.state.load(Ordering::Relaxed) & !(GENERATION.wrapping_sub(1))).wrapping_add(GENERATION);
        self.state.store(next, Ordering::Relaxed);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push_back(self);
    }

    /// The part of the generation that fits in a pointer.
    fn tag(state: u32) -> usize {
        usize::try_from(state / GENERATION).unwrap_or(0) % ALIGN
    }
}

/// The library's side of an operation: what it calls back with.
#[derive(Debug)]
pub struct Token(*mut c_void);

impl Token {
    /// The pointer to hand to a library as its callback's argument.
    #[must_use]
    pub fn as_raw(&self) -> *mut c_void {
        self.0
    }

    /// The operation has ended with `result`. Any thread; may be called before the submit call returns.
    ///
    /// A second call for the same operation is ignored.
    ///
    /// # Safety
    /// `raw` came from [`Token::as_raw`].
    pub unsafe fn complete(raw: *mut c_void, result: i64) {
        let tag = raw.addr() % ALIGN;
        // SAFETY: `as_raw` added the tag to the address of a slot, which is aligned to more than the tag and lives for ever.
        let slot: &'static Slot = unsafe { &*raw.wrapping_byte_sub(tag).cast_const().cast::<Slot>() };
        let claim = slot.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            (state & ARMED != 0 && Slot::tag(state) == tag).then_some((state & !ARMED) | CLAIMED)
        });
        if claim.is_err() {
            STRAY.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let request = slot.request.load(Ordering::Relaxed);
        slot.result.store(result, Ordering::Relaxed);
        let before = slot.state.fetch_xor(CLAIMED | DONE, Ordering::AcqRel);
        if before & ABANDONED != 0 {
            slot.release();
        }
        // The slot is no longer ours.
        // SAFETY: the operation still counts as in flight, so `block_on` keeps its request alive.
        unsafe { (*request).land() }
    }
}

impl Token {
    /// The token as something that Rust code can keep and complete.
    #[must_use]
    pub fn signal(&self) -> Signal {
        Signal(self.0)
    }
}

/// An operation that ends when this is dropped, with the result 0: on whatever thread, and also if it was never looked at.
#[derive(Debug)]
pub struct Signal(*mut c_void);

// SAFETY: `Token::complete` may be called on any thread.
unsafe impl Send for Signal {}

impl Drop for Signal {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a token.
        unsafe { Token::complete(self.0, 0) }
    }
}

/// How many callbacks came twice or late and were ignored.
#[cfg(test)]
fn stray_callbacks() -> u64 {
    STRAY.load(Ordering::Relaxed)
}

/// The driver's side of an operation: a future of its result.
///
/// Dropping it does not stop the operation; its request still waits for it.
#[derive(Debug)]
#[must_use = "an operation has no effect on the request until its result is awaited"]
pub struct Completion(Stage);

/// How far an operation is.
#[derive(Debug)]
enum Stage {
    /// It could not be submitted.
    Failed(Errno),
    /// It is in flight, or has its result.
    Submitted(&'static Slot),
    /// The result was taken.
    Taken,
}

impl Request {
    /// Submits an operation: calls `submit` with the token that the library has to complete.
    ///
    /// If `submit` fails the library is not expected to call back; a callback that came nevertheless is ignored.
    pub fn submit(&self, submit: impl FnOnce(&Token) -> Result<(), Errno>) -> Completion {
        let slot = match Slot::take() {
            Ok(slot) => slot,
            Err(errno) => return Completion(Stage::Failed(errno)),
        };
        slot.request.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        let state = slot.state.load(Ordering::Relaxed) | ARMED;
        slot.state.store(state, Ordering::Release);
        self.take_off();
        let token =
            Token(ptr::from_ref(slot).cast_mut().cast::<c_void>().wrapping_byte_add(Slot::tag(state)));
        match submit(&token) {
            Ok(()) => Completion(Stage::Submitted(slot)),
            Err(errno) => {
                // Land it ourselves, unless the library has called back all the same; then nobody waits for that result.
                // SAFETY: the pointer is the token's own.
                unsafe { Token::complete(token.as_raw(), 0) }
                drop(Completion(Stage::Submitted(slot)));
                Completion(Stage::Failed(errno))
            }
        }
    }
}

impl Future for Completion {
    /// What the library called back with.
    type Output = Result<i64, Errno>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {
            Stage::Failed(errno) => Poll::Ready(Err(errno)),
            Stage::Taken => Poll::Ready(Err(Errno::EIO)),
            Stage::Submitted(slot) => {
                if slot.state.load(Ordering::Acquire) & DONE == 0 {
                    return Poll::Pending;
                }
                let result = slot.result.load(Ordering::Relaxed);
                self.0 = Stage::Taken;
                slot.release();
                Poll::Ready(Ok(result))
            }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Stage::Submitted(slot) = self.0 {
            if slot.state.fetch_or(ABANDONED, Ordering::AcqRel) & DONE != 0 {
                slot.release();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block_on;
    use std::sync::mpsc;
    use std::thread;

    /// A token's pointer on its way to another thread.
    struct Raw(*mut c_void);
    // SAFETY: tokens may be completed on any thread; that is what is tested.
    unsafe impl Send for Raw {}

    fn complete(raw: &Raw, result: i64) {
        // SAFETY: every test gets its pointers from `Token::as_raw`.
        unsafe { Token::complete(raw.0, result) }
    }

    #[test]
    fn pool_has_room_for_its_slots_and_little_more() {
        let slots: Vec<&'static Slot> = (0..40 * CHUNK).map(|_| Slot::take().unwrap()).collect();

        let room = FREE.lock().unwrap().capacity();
        slots.into_iter().for_each(Slot::release);

        // Other tests have slots, too.
        assert!(room < 80 * CHUNK, "{room}");
    }

    #[test]
    fn complete_before_submit_returns_gives_the_result() {
        let result = block_on(async |rq| {
            rq.submit(|token| {
                complete(&Raw(token.as_raw()), 7);
                Ok(())
            })
            .await
        });
        assert_eq!(result, Ok(Ok(7)));
    }

    #[test]
    fn complete_on_another_thread_wakes_the_owner() {
        let (send, receive) = mpsc::channel::<Raw>();
        let library = thread::spawn(move || receive.iter().for_each(|raw| complete(&raw, 9)));
        let result = block_on(async |rq| {
            rq.submit(|token| send.send(Raw(token.as_raw())).map_err(|_| Errno::EIO)).await
        });
        drop(send);
        library.join().unwrap();
        assert_eq!(result, Ok(Ok(9)));
    }

    #[test]
    fn complete_twice_is_ignored_the_second_time() {
        let mut raw = None;
        let result = block_on(async |rq| {
            let done = rq.submit(|token| {
                raw = Some(Raw(token.as_raw()));
                complete(raw.as_ref().unwrap(), 1);
                Ok(())
            });
            done.await
        });
        let before = stray_callbacks();
        complete(&raw.unwrap(), 2);
        assert_eq!(result, Ok(Ok(1)));
        assert!(stray_callbacks() > before);
    }

    #[test]
    fn submit_failure_gives_its_error_and_leaves_nothing_in_flight() {
        let result = block_on(async |rq| rq.submit(|_| Err(Errno::ENOMEM)).await);
        assert_eq!(result, Ok(Err(Errno::ENOMEM)));
    }

    #[test]
    fn submit_failure_after_the_callback_gives_the_error() {
        let result = block_on(async |rq| {
            rq.submit(|token| {
                complete(&Raw(token.as_raw()), 5);
                Err(Errno::EINVAL)
            })
            .await
        });
        assert_eq!(result, Ok(Err(Errno::EINVAL)));
    }

    #[test]
    fn block_on_waits_for_an_operation_whose_future_was_dropped() {
        let (send, receive) = mpsc::channel::<Raw>();
        let (landed, was_landed) = mpsc::channel();
        let library = thread::spawn(move || {
            let raw = receive.recv().unwrap();
            landed.send(()).unwrap();
            complete(&raw, 0);
        });
        let result = block_on(async |rq| {
            drop(rq.submit(|token| send.send(Raw(token.as_raw())).map_err(|_| Errno::EIO)));
        });
        assert_eq!(result, Ok(()));
        assert_eq!(was_landed.try_recv(), Ok(()));
        library.join().unwrap();
    }

    #[test]
    fn block_on_after_a_panic_waits_for_operations_in_flight() {
        let (send, receive) = mpsc::channel::<Raw>();
        let (landed, was_landed) = mpsc::channel();
        let library = thread::spawn(move || {
            let raw = receive.recv().unwrap();
            landed.send(()).unwrap();
            complete(&raw, 0);
        });
        let result = block_on(async |rq| {
            let _pending = rq.submit(|token| send.send(Raw(token.as_raw())).map_err(|_| Errno::EIO));
            panic!("on purpose");
        });
        assert!(result.is_err());
        assert_eq!(was_landed.try_recv(), Ok(()));
        library.join().unwrap();
    }
}
