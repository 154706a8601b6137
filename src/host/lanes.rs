// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! One operation on several children at the same time: a lane for each child, with private memory and a place for the result.
//!
//! Every operation but the last has a coroutine of its own; the last runs in the request's. The request is woken once, when
//! all have ended.

use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use super::child::Child;
use super::memory::Memory;
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
#[derive(Debug)]
#[repr(C)]
struct Lane {
    /// What C sees; first, so that its address is the lane's.
    io: QbrChildIo,
    /// Valid while the operation is in flight: `host::block_on` waits for it.
    request: *const Request,
    result: AtomicI64,
}

impl Lane {
    /// A lane without an operation.
    fn idle() -> Self {
        Self { io: QbrChildIo::default(), request: ptr::null(), result: AtomicI64::new(0) }
    }
}

/// A set of lanes, to be used again and again.
///
/// # Invariants
/// While operations are in flight `run` has the set borrowed, or it has been leaked; no lane or memory moves or goes then.
#[derive(Debug)]
pub struct Lanes {
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
    /// `count` lanes with `capacity` bytes of private memory each.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(count: usize, capacity: usize) -> Result<Self, Errno> {
        let mut lanes = Vec::new();
        lanes.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        lanes.resize_with(count, Lane::idle);
        let memory = Memory::new(count.checked_mul(capacity).ok_or(Errno::ENOMEM)?)?;
        Ok(Self { lanes, memory, capacity })
    }

    /// No lanes.
    #[must_use]
    pub const fn none() -> Self {
        Self { lanes: Vec::new(), memory: Memory::empty(), capacity: 0 }
    }

    /// How many lanes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Does `op` with those of `children` that `wanted` chooses by their number, and waits for all of them.
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
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), Errno> {
        let private = matches!(op, Op::Read | Op::Copy { .. });
        if children.len() > self.lanes.len() || (private && range.len() > self.capacity) {
            return Err(Errno::EINVAL);
        }
        let Some(last) = (0..children.len()).rev().find(|index| wanted(*index)) else { return Ok(()) };
        // From here to the end nothing may touch the lanes, not even if this future should be dropped.
        let guard = LeakOnDrop(self);
        let lanes = &mut *guard.0;
        let (base, capacity) = (lanes.memory.base().as_ptr(), lanes.capacity);
        let memory = |lane: usize| base.wrapping_add(lane.saturating_mul(capacity)).cast();
        for (index, (lane, child)) in lanes.lanes.iter_mut().zip(children).enumerate() {
            if index > last || !wanted(index) {
                continue;
            }
            let buffer = match op {
                Op::Copy { from } => memory(from),
                _ => memory(index),
            };
            lane.request = ptr::from_ref(rq);
            lane.io = describe(op, *child, range, buffer);
            let lane = ptr::from_mut(lane);
            if index == last {
                // SAFETY: the lane stays as it is until the call returns, with the result.
                let result = unsafe { qbr_host_child_run(lane.cast()) };
                // SAFETY: the lane is valid, as above.
                unsafe { (*lane).result.store(result, Ordering::Relaxed) };
            } else {
                rq.take_off();
                // SAFETY: the lane stays as it is until `landed` was called, or for ever (`LeakOnDrop`).
                unsafe { qbr_host_child_start(lane.cast()) };
            }
        }
        rq.all_landed().await;
        guard.disarm();
        Ok(())
    }

    /// How the last operation of a lane ended.
    ///
    /// # Errors
    /// What the child answered.
    pub fn result(&self, lane: usize) -> Result<i64, Errno> {
        match self.lanes.get(lane).map_or(0, |lane| lane.result.load(Ordering::Relaxed)) {
            error @ ..0 => Err(Errno::from_code(i32::try_from(error.saturating_neg()).unwrap_or(0))),
            result => Ok(result),
        }
    }

    /// The first `bytes` bytes of a lane's memory: nothing if there are not so many.
    #[must_use]
    pub fn bytes(&self, lane: usize, bytes: usize) -> &[u8] {
        if lane >= self.lanes.len() || bytes > self.capacity {
            return &[];
        }
        let start = self.memory.base().as_ptr().wrapping_add(lane.saturating_mul(self.capacity));
        // No guest and no child can touch it: it is ours, and nothing is in flight while the set can be borrowed.
        #[expect(clippy::disallowed_methods, reason = "private memory")]
        // SAFETY: within the mapping of `count * capacity` bytes, which was initialised by the system; see above.
        unsafe {
            std::slice::from_raw_parts(start, bytes)
        }
    }

    /// Bytes of memory of all lanes together.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.memory.bytes()
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
        let _leaked = ManuallyDrop::new(mem::replace(self.0, Lanes::none()));
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

/// A child's operation has ended. In its coroutine.
unsafe extern "C" fn landed(io: *mut QbrChildIo, result: i64) {
    let lane: *mut Lane = io.cast();
    // SAFETY: `run` passed the address of a lane, which stays until this has been called; `io` is its first member.
    let lane = unsafe { &*lane };
    lane.result.store(result, Ordering::Relaxed);
    // SAFETY: the operation still counts as in flight, so `block_on` keeps its request alive.
    let request = unsafe { &*lane.request };
    // The lane is no longer ours after this.
    request.land();
}
