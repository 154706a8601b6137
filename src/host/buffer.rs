// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! A bounce buffer that can be lent to a library.

use std::mem::{self, ManuallyDrop};
use std::sync::atomic::{AtomicBool, Ordering};

use super::memory::Memory;
use super::pool::Pooled;
use super::request::Request;
use crate::errno::Errno;
use crate::iov::{GuestIov, Span};

/// Private memory for one request.
///
/// # Invariants
/// While it is lent only the library touches the memory. What was never given back stays lent, and is leaked in the end.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Memory,
    lent: AtomicBool,
}

impl Pooled for Buffer {
    fn new(count: usize, capacity: usize) -> Result<Self, Errno> {
        let bytes = count.checked_mul(capacity).ok_or(Errno::ENOMEM)?;
        Ok(Self { memory: Memory::new(bytes)?, lent: AtomicBool::new(false) })
    }

    fn count(&self) -> usize {
        usize::from(self.memory.bytes() > 0 && !self.lent.load(Ordering::Relaxed))
    }

    fn footprint(&self) -> usize {
        self.memory.bytes()
    }
}

impl Buffer {
    /// Lends the memory to operations that are about to be submitted.
    pub fn lend(&mut self) -> Lent<'_> {
        self.lent.store(true, Ordering::Relaxed);
        Lent(self)
    }

    /// Copies what the guest has in its memory now, `length` bytes from byte `at` of the vector on, to byte `to`.
    pub fn copy_from(&mut self, iov: &GuestIov<'_>, at: usize, to: usize, length: usize) {
        let fits = to.checked_add(length).is_some_and(|end| end <= self.memory.bytes());
        if fits && !self.lent.load(Ordering::Relaxed) {
            let target = self.memory.base().as_ptr().wrapping_add(to);
            // SAFETY: within the memory, which is ours, and nobody else uses it (type invariant).
            unsafe { iov.copy_out(at, target, length) }
        }
    }

    /// The bytes from `at` on; nothing if there are not so many, or if they are lent.
    #[must_use]
    pub fn bytes(&self, at: usize, length: usize) -> &[u8] {
        let fits = at.checked_add(length).is_some_and(|end| end <= self.memory.bytes());
        if !fits || self.lent.load(Ordering::Relaxed) {
            return &[];
        }
        let start = self.memory.base().as_ptr().wrapping_add(at);
        #[expect(clippy::disallowed_methods, reason = "private memory")]
        // SAFETY: within the mapping, which the system has initialised, and not lent (type invariant).
        unsafe {
            std::slice::from_raw_parts(start, length)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if *self.lent.get_mut() {
            // A library may still touch it.
            let _leaked = ManuallyDrop::new(mem::take(&mut self.memory));
        }
    }
}

/// A buffer in the hands of a library.
#[derive(Debug)]
#[must_use = "what isn't given back is leaked"]
pub struct Lent<'a>(&'a mut Buffer);

impl Lent<'_> {
    /// The part from `at` on; nothing if there are not so many bytes.
    #[must_use]
    pub fn span(&self, at: usize, length: usize) -> Option<Span<'_>> {
        let end = at.checked_add(length)?;
        let start = self.0.memory.base().as_ptr().wrapping_add(at);
        // SAFETY: within the mapping, which stays as it is until `returned` finds nothing in flight, or for ever.
        (end <= self.0.memory.bytes()).then(|| unsafe { Span::from_raw(start, length) })
    }

    /// Ends the loan. Operations of `rq` that are still in flight keep the memory for ever.
    pub fn returned(self, rq: &Request) {
        if !rq.in_flight() {
            self.0.lent.store(false, Ordering::Relaxed);
        }
    }
}
