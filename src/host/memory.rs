// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Private memory for I/O: page-aligned, and given back to the system when it is dropped.

use std::ptr::{self, NonNull};

use crate::errno::Errno;

/// A mapping of our own, initially zero.
///
/// # Invariants
/// `base` is the start of a private anonymous mapping of `bytes` bytes, or dangling if `bytes` is 0.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Memory {}
// SAFETY: shared references only hand out its address and length.
unsafe impl Sync for Memory {}

impl Default for Memory {
    fn default() -> Self {
        Self::empty()
    }
}

impl Memory {
    /// No memory.
    pub(super) const fn empty() -> Self {
        Self { base: NonNull::dangling(), bytes: 0 }
    }

    /// Maps `bytes` bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(bytes: usize) -> Result<Self, Errno> {
        if bytes == 0 {
            return Ok(Self::empty());
        }
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches no memory of anybody.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::ENOMEM);
        }
        NonNull::new(base.cast()).map(|base| Self { base, bytes }).ok_or(Errno::ENOMEM)
    }

    /// The first byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How much there is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: the mapping is ours (type invariant), and nothing uses it any more.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        }
    }
}
