// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Guest memory, as pointers and lengths that are only ever passed on.
//!
//! The guest may rewrite its memory at any moment, so there is no way from here to a slice or to a byte of it.

use std::marker::PhantomData;
use std::ptr::NonNull;

use libc::iovec;

use crate::sys::host::{qbr_host_qiov_elements, qbr_host_qiov_zero, QEMUIOVector};

/// The memory of one request: QEMU's vector, borrowed for the request's life.
///
/// # Invariants
/// The vector and the memory it names stay valid for `'rq`, and `'rq` ends only after every operation of the request
/// has called back (`host::block_on` waits for them).
#[derive(Debug)]
pub struct GuestIov<'rq> {
    qiov: NonNull<QEMUIOVector>,
    elements: NonNull<iovec>,
    count: usize,
    bytes: usize,
    _request: PhantomData<&'rq ()>,
}

impl GuestIov<'_> {
    /// Wraps the vector that a callback received.
    ///
    /// # Safety
    /// `qiov` is valid, and it and the memory it names stay so for the lifetime chosen by the caller.
    #[must_use]
    pub unsafe fn from_raw(qiov: NonNull<QEMUIOVector>) -> Self {
        let (mut count, mut bytes) = (0, 0);
        // SAFETY: the caller promises a valid vector; both out-pointers are local variables.
        let elements = unsafe { qbr_host_qiov_elements(qiov.as_ptr(), &raw mut count, &raw mut bytes) };
        let elements = NonNull::new(elements.cast_mut());
        if elements.is_none() {
            (count, bytes) = (0, 0);
        }
        Self { qiov, elements: elements.unwrap_or(NonNull::dangling()), count, bytes, _request: PhantomData }
    }

    /// Bytes that the vector can hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The elements, for a library call.
    #[must_use]
    pub fn as_ptr(&self) -> *const iovec {
        self.elements.as_ptr()
    }

    /// The vector itself, for the block layer.
    #[must_use]
    pub fn as_raw(&self) -> *mut QEMUIOVector {
        self.qiov.as_ptr()
    }

    /// Fills the vector from its start, piece by piece.
    #[must_use]
    pub fn writer(&self) -> IovWriter<'_> {
        IovWriter { iov: self, element: 0, skip: 0 }
    }

    /// How many elements there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Fills everything from byte `offset` on with zeroes.
    pub fn zero_from(&self, offset: usize) {
        let bytes = self.bytes.saturating_sub(offset);
        if bytes > 0 {
            // SAFETY: the vector is valid for 'rq (type invariant), and `offset + bytes` is its size.
            unsafe { qbr_host_qiov_zero(self.qiov.as_ptr(), offset, bytes) }
        }
    }

    /// The elements without their first `skip` bytes: what is left to do after a short transfer.
    ///
    /// Allocates, and is therefore for the rare case only. `None` if memory is short.
    #[must_use]
    pub fn remainder(&self, skip: usize) -> Option<Vec<iovec>> {
        let mut rest = Vec::new();
        rest.try_reserve_exact(self.count).ok()?;
        let mut skip = skip;
        for index in 0..self.count {
            // SAFETY: `index < count`, and the elements are valid for 'rq (type invariant).
            let element = unsafe { self.elements.as_ptr().add(index) };
            // SAFETY: as above; QEMU does not change the array while the request is in flight.
            let element = unsafe { element.read() };
            let cut = skip.min(element.iov_len);
            skip = skip.saturating_sub(cut);
            let iov_len = element.iov_len.saturating_sub(cut);
            if iov_len > 0 {
                rest.push(iovec { iov_base: element.iov_base.wrapping_byte_add(cut), iov_len });
            }
        }
        Some(rest)
    }
}

/// Where the next bytes of a vector go.
#[derive(Debug)]
pub struct IovWriter<'rq> {
    iov: &'rq GuestIov<'rq>,
    /// The element, and how many of its bytes are filled.
    element: usize,
    skip: usize,
}

impl IovWriter<'_> {
    /// Copies `bytes` behind what was written before; what doesn't fit is left out.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.element < self.iov.count {
            // SAFETY: `element < count`, and the elements are valid for 'rq (invariant of `GuestIov`).
            let element = unsafe { self.iov.elements.as_ptr().add(self.element) };
            // SAFETY: as above; QEMU does not change the array while the request is in flight.
            let element = unsafe { element.read() };
            let room = element.iov_len.saturating_sub(self.skip);
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            let target = element.iov_base.cast::<u8>().wrapping_add(self.skip);
            // SAFETY: `now` fits in the rest of the element, whose memory is valid for 'rq; nobody but the guest, which may race
            // with us as with any device, has access to it, so the two don't overlap.
            unsafe { target.copy_from_nonoverlapping(now.as_ptr(), now.len()) }
            bytes = later;
            self.skip = self.skip.saturating_add(now.len());
            if self.skip == element.iov_len {
                (self.element, self.skip) = (self.element.saturating_add(1), 0);
            }
        }
    }
}
