// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! One operation on several children at the same time: a lane for each child, with private memory and a place for the result.
//!
//! The last operation runs in the request's coroutine, the others in coroutines of their own; but one that ends without having
//! slept hands its coroutine on to the next. The request is woken once, when all have ended.

use std::cell::UnsafeCell;
use std::future::poll_fn;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};
use std::task::Poll;

use super::child::Child;
use super::join::Join;
use super::memory::Memory;
use super::pool::Pooled;
use super::qemu::QuorumEvent;
use super::request::Request;
use crate::errno::Errno;
use crate::iov::GuestIov;
use crate::range::ByteRange;
use crate::sys::host::{
    qbr_host_child_run, qbr_host_child_start, QEMUIOVector, QbrChildIo, QbrChildOp, QBR_CHILD_DISCARD,
    QBR_CHILD_FLUSH, QBR_CHILD_READ, QBR_CHILD_WRITE, QBR_CHILD_WRITE_ZEROES,
};

/// What the children are to do.
#[derive(Debug, Clone, Copy)]
pub enum Op<'rq> {
    /// Read into the lane's memory.
    Read,
    /// Write guest memory, with request flags.
    Write(&'rq GuestIov<'rq>, u32),
    /// Write what another lane has read.
    Copy {
        /// The lane that has it.
        from: usize,
    },
    /// Write zeroes, with request flags.
    WriteZeroes(u32),
    /// Discard.
    Discard,
    /// Make what was written durable.
    Flush,
}

/// One child's operation.
#[derive(Debug, Default)]
#[repr(C)]
struct Lane {
    /// What C sees; first, so that its address is the lane's. Written only while the lane has no operation in flight.
    io: UnsafeCell<QbrChildIo>,
    result: AtomicI64,
    /// Valid while the operation is in flight.
    run: AtomicPtr<Run>,
    /// The lane behind it in the line of those to be started.
    next: AtomicPtr<Lane>,
}

/// What the operations of one run have in common.
#[derive(Debug)]
struct Run {
    join: Join,
    /// Valid while operations are in flight: `host::block_on` waits for them.
    request: AtomicPtr<Request>,
    /// What to report if a child fails. Written only while no operation is in flight.
    event: UnsafeCell<Option<QuorumEvent>>,
    /// The head of the line of lanes whose operations are still to be started.
    waiting: AtomicPtr<Lane>,
    /// The lane whose operation the starter has just started: while it is this one, its coroutine has not slept.
    starting: AtomicPtr<Lane>,
}

/// A set of lanes, to be used again and again.
#[derive(Debug, Default)]
pub struct Lanes(Option<Box<Set>>);

/// What a set of lanes is made of.
///
/// # Invariants
/// While operations are in flight `run` has the set borrowed, or it has been leaked; nothing of it moves or goes then.
#[derive(Debug)]
struct Set {
    run: Run,
    lanes: Vec<Lane>,
    memory: Memory,
    /// Bytes of memory of one lane.
    capacity: usize,
}

// SAFETY: between operations the pointers in the lanes are never followed.
unsafe impl Send for Lanes {}
// SAFETY: a shared reference gives access to results, which are atomic, and to memory that nobody writes to then.
unsafe impl Sync for Lanes {}

impl Lanes {
    /// Does `op` with those of `children` that `wanted` chooses by their number, and waits for all of them. A child that fails is
    /// reported at once, if there is an `event` for that.
    ///
    /// # Errors
    /// `EINVAL` if there are more children than lanes, or a range needs more memory than a lane has. What children answered is in
    /// [`Lanes::result`].
    pub async fn run(
        &mut self,
        rq: &Request,
        children: &[Child],
        op: Op<'_>,
        range: ByteRange,
        event: Option<QuorumEvent>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), Errno> {
        // From here to the end nothing may touch the lanes, not even if this future should be dropped.
        let guard = LeakOnDrop(self);
        let Some(set) = guard.0 .0.as_deref() else { return Err(Errno::EINVAL) };
        let private = matches!(op, Op::Read | Op::Copy { .. });
        if children.len() > set.lanes.len() || (private && range.len() > set.capacity) {
            guard.disarm();
            return Err(Errno::EINVAL);
        }
        // SAFETY: with no operation in flight the set is only ours.
        unsafe { set.run.event.get().write(event) }
        let chosen = (0..children.len()).filter(|index| wanted(*index));
        if let Some(last) = chosen.clone().next_back() {
            set.run.request.store(ptr::from_ref(rq).cast_mut(), Ordering::Relaxed);
            set.run.join.begin(chosen.count().saturating_sub(1));
            set.queue(children, op, range, |index| index < last && wanted(index));
            set.run.start();
            set.run_here(children, op, range, last);
            set.run.all_ended(rq).await;
        }
        guard.disarm();
        Ok(())
    }

    /// How the last operation of a lane ended.
    ///
    /// # Errors
    /// What the child answered.
    pub fn result(&self, lane: usize) -> Result<i64, Errno> {
        let lane = self.0.as_ref().and_then(|set| set.lanes.get(lane));
        Errno::check(lane.map_or(0, |lane| lane.result.load(Ordering::Relaxed)))
    }

    /// The first `bytes` bytes of a lane's memory: nothing if there are not so many.
    #[must_use]
    pub fn bytes(&self, lane: usize, bytes: usize) -> &[u8] {
        let Some(set) = &self.0 else { return &[] };
        if lane >= set.lanes.len() || bytes > set.capacity {
            return &[];
        }
        let start = set.memory.base().as_ptr().wrapping_add(lane.saturating_mul(set.capacity));
        // No guest and no child can touch it: it is ours, and nothing is in flight while the set can be borrowed.
        #[expect(clippy::disallowed_methods, reason = "private memory")]
        // SAFETY: within the mapping of `count * capacity` bytes, which was initialised by the system; see above.
        unsafe {
            std::slice::from_raw_parts(start, bytes)
        }
    }
}

impl Pooled for Lanes {
    fn new(count: usize, capacity: usize) -> Result<Self, Errno> {
        let mut lanes = Vec::new();
        lanes.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        let memory = Memory::new(count.checked_mul(capacity).ok_or(Errno::ENOMEM)?)?;
        let run = Run {
            join: Join::new(),
            request: AtomicPtr::default(),
            event: UnsafeCell::new(None),
            waiting: AtomicPtr::default(),
            starting: AtomicPtr::default(),
        };
        lanes.resize_with(count, Lane::default);
        Ok(Self(Some(Box::new(Set { run, lanes, memory, capacity }))))
    }

    fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.lanes.len())
    }

    fn footprint(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.memory.bytes())
    }
}

impl Set {
    /// Describes the operation of a lane, which has none in flight.
    fn describe(
        &self,
        children: &[Child],
        op: Op<'_>,
        range: ByteRange,
        index: usize,
    ) -> Option<(&Lane, *mut QbrChildIo)> {
        let (lane, child) = self.lanes.get(index).zip(children.get(index))?;
        let from = if let Op::Copy { from } = op { from } else { index };
        let buffer = self.memory.base().as_ptr().wrapping_add(from.saturating_mul(self.capacity));
        lane.run.store(ptr::from_ref(&self.run).cast_mut(), Ordering::Relaxed);
        let io = lane.io.get();
        // SAFETY: with no operation in flight the description is only ours.
        unsafe { io.write(describe(op, *child, range, buffer.cast())) }
        Some((lane, io))
    }

    /// Describes operations and puts them in line.
    fn queue(&self, children: &[Child], op: Op<'_>, range: ByteRange, wanted: impl Fn(usize) -> bool) {
        let mut first = ptr::null_mut();
        for index in (0..children.len()).rev().filter(|index| wanted(*index)) {
            if let Some((lane, _)) = self.describe(children, op, range, index) {
                lane.next.store(first, Ordering::Relaxed);
                first = ptr::from_ref(lane).cast_mut();
            }
        }
        self.run.waiting.store(first, Ordering::Release);
    }

    /// Does one operation in this coroutine.
    fn run_here(&self, children: &[Child], op: Op<'_>, range: ByteRange, index: usize) {
        if let Some((lane, io)) = self.describe(children, op, range, index) {
            // SAFETY: the lane stays as it is until the call returns.
            let result = unsafe { qbr_host_child_run(io) };
            self.run.end(lane, result);
        }
    }
}

impl Run {
    /// Starts the operations that are in line, each in a coroutine of its own unless it is taken over by the one before.
    fn start(&self) {
        while let Some(lane) = self.next_lane() {
            self.starting.store(lane, Ordering::Relaxed);
            // SAFETY: the lane stays as it is until `landed` was called, or for ever (`LeakOnDrop`).
            unsafe { qbr_host_child_start(lane.cast()) }
        }
        self.starting.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Takes the next lane out of the line. Each is taken once, by whoever it may be.
    fn next_lane(&self) -> Option<*mut Lane> {
        let mut lane = self.waiting.load(Ordering::Acquire);
        loop {
            if lane.is_null() {
                return None;
            }
            // SAFETY: a lane in line stays until its operation has ended.
            let next = unsafe { (*lane).next.load(Ordering::Relaxed) };
            match self.waiting.compare_exchange(lane, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(lane),
                Err(now) => lane = now,
            }
        }
    }

    /// Keeps the result of a lane's operation, and reports a failure.
    fn end(&self, lane: &Lane, result: i64) {
        lane.result.store(result, Ordering::Relaxed);
        let Err(errno) = Errno::check(result) else { return };
        // SAFETY: written before the first operation began.
        let event = unsafe { *self.event.get() };
        // SAFETY: written before the operation began; C has only read it.
        let child = unsafe { (*lane.io.get()).child };
        if let (Some(event), Some(child)) = (event, NonNull::new(child)) {
            // SAFETY: a child with an operation stays attached.
            event.bad(unsafe { Child::from_raw(child) }, Some(errno));
        }
    }

    /// Sleeps until the operations that were started have ended.
    async fn all_ended(&self, rq: &Request) {
        // Children that answer at once, from a cache for example, are done by now.
        if self.join.only_starter_left() {
            return;
        }
        rq.take_off();
        if self.join.end() {
            rq.land();
        }
        poll_fn(|_| if self.join.all_ended() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Leaks lanes whose operations nobody waits for any more: the children may still touch them.
struct LeakOnDrop<'a>(&'a mut Lanes);

impl LeakOnDrop<'_> {
    /// Everything has landed.
    fn disarm(self) {
        let _nothing_to_leak = ManuallyDrop::new(self);
    }
}

impl Drop for LeakOnDrop<'_> {
    fn drop(&mut self) {
        let _leaked = ManuallyDrop::new(mem::take(self.0));
    }
}

/// The operation in C's words.
fn describe(op: Op<'_>, child: Child, range: ByteRange, buffer: *mut std::ffi::c_void) -> QbrChildIo {
    let (op, flags, qiov): (QbrChildOp, u32, *mut QEMUIOVector) = match op {
        Op::Read => (QBR_CHILD_READ, 0, ptr::null_mut()),
        Op::Write(iov, flags) => (QBR_CHILD_WRITE, flags, iov.as_raw()),
        Op::Copy { .. } => (QBR_CHILD_WRITE, 0, ptr::null_mut()),
        Op::WriteZeroes(flags) => (QBR_CHILD_WRITE_ZEROES, flags, ptr::null_mut()),
        Op::Discard => (QBR_CHILD_DISCARD, 0, ptr::null_mut()),
        Op::Flush => (QBR_CHILD_FLUSH, 0, ptr::null_mut()),
    };
    QbrChildIo {
        op,
        flags,
        child: child.as_raw(),
        offset: range.offset(),
        bytes: range.bytes(),
        qiov,
        buffer,
        done: Some(landed),
        ..QbrChildIo::default()
    }
}

/// A child's operation has ended. In its coroutine; returns what that is to do next.
unsafe extern "C" fn landed(io: *mut QbrChildIo, result: i64) -> *mut QbrChildIo {
    let raw: *mut Lane = io.cast();
    // SAFETY: `run` passed the address of a lane, which stays until this has been called; `io` is its first member.
    let lane = unsafe { &*raw };
    // SAFETY: valid while the operation counts.
    let run = unsafe { &*lane.run.load(Ordering::Relaxed) };
    run.end(lane, result);
    let request = run.request.load(Ordering::Relaxed);
    let mut next = ptr::null_mut();
    if run.starting.load(Ordering::Relaxed) == raw {
        // It has not slept, so its starter is still waiting for it, and another coroutine for the next one can be saved.
        if let Some(lane) = run.next_lane() {
            run.starting.store(lane, Ordering::Relaxed);
            next = lane;
        }
    }
    // Unless this was the last one, lane and request are no longer ours after this.
    if run.join.end() {
        // SAFETY: all of them still count as one in flight, so `block_on` keeps the request alive.
        unsafe { (*request).land() }
    }
    next.cast()
}
