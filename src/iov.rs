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

    /// All of it, for the block layer.
    #[must_use]
    pub fn part(&self) -> GuestPart<'_> {
        // INVARIANT: it is not there for longer than the vector.
        GuestPart { qiov: self.qiov, skip: 0, _request: PhantomData }
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

    /// The bytes from `at` on, if they stand in one piece.
    #[must_use]
    pub fn span(&self, at: usize, length: usize) -> Option<Span<'_>> {
        let mut at = at;
        for index in 0..self.count {
            let element = self.element(index);
            if at < element.iov_len {
                let fits = element.iov_len.saturating_sub(at) >= length;
                let start = element.iov_base.cast::<u8>().wrapping_add(at);
                // SAFETY: within an element, whose memory is valid for 'rq (type invariant).
                return fits.then(|| unsafe { Span::from_raw(start, length) });
            }
            at = at.saturating_sub(element.iov_len);
        }
        None
    }

    /// One of the elements.
    fn element(&self, index: usize) -> iovec {
        debug_assert!(index < self.count);
        // SAFETY: the callers stay below `count`, and the elements are valid for 'rq (type invariant).
        let element = unsafe { self.elements.as_ptr().add(index) };
        // SAFETY: as above; QEMU does not change the array while the request is in flight.
        unsafe { element.read() }
    }

    /// Copies `length` bytes from byte `at` on to `target`, as they are now. What the vector doesn't have is left out.
    ///
    /// # Safety
    /// `target` has room for so many bytes, and nobody else uses them.
    pub unsafe fn copy_out(&self, at: usize, target: *mut u8, length: usize) {
        let mut done: usize = 0;
        for (start, bytes) in self.parts(at, length) {
            // SAFETY: `bytes` fits in both; private memory and the guest's don't overlap. The guest may race with us, as with any
            // device.
            unsafe { target.wrapping_add(done).copy_from_nonoverlapping(start, bytes) }
            done = done.saturating_add(bytes);
        }
    }

    /// Fills `length` bytes from byte `at` on: with `bytes`, and with zeroes behind them.
    pub fn copy_in(&self, at: usize, bytes: &[u8], length: usize) {
        let mut rest = bytes;
        for (start, part) in self.parts(at, length) {
            let (now, later) = rest.split_at_checked(part).unwrap_or((rest, &[]));
            // SAFETY: within an element, whose memory is valid for 'rq (type invariant); as in `copy_out`.
            unsafe { start.copy_from_nonoverlapping(now.as_ptr(), now.len()) }
            let zeroes = part.saturating_sub(now.len());
            // SAFETY: as above.
            unsafe { start.wrapping_add(now.len()).write_bytes(0, zeroes) }
            rest = later;
        }
    }

    /// The pieces of memory that hold `length` bytes from byte `at` on.
    fn parts(&self, at: usize, length: usize) -> impl Iterator<Item = (*mut u8, usize)> + '_ {
        let (mut skip, mut left) = (at, length);
        (0..self.count).filter_map(move |index| {
            let element = self.element(index);
            let cut = skip.min(element.iov_len);
            skip = skip.saturating_sub(cut);
            let now = element.iov_len.saturating_sub(cut).min(left);
            left = left.saturating_sub(now);
            (now > 0).then(|| (element.iov_base.cast::<u8>().wrapping_add(cut), now))
        })
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
            let element = self.element(index);
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

/// The memory of one request from some byte of QEMU's vector on, to be handed on to the block layer, which alone looks into it.
///
/// # Invariants
/// As for [`GuestIov`].
#[derive(Debug, Clone, Copy)]
pub struct GuestPart<'rq> {
    qiov: NonNull<QEMUIOVector>,
    skip: usize,
    _request: PhantomData<&'rq ()>,
}

impl GuestPart<'_> {
    /// Wraps the vector that a callback received, and where its request begins in it.
    ///
    /// # Safety
    /// As for [`GuestIov::from_raw`].
    #[must_use]
    pub unsafe fn from_raw(qiov: NonNull<QEMUIOVector>, skip: usize) -> Self {
        Self { qiov, skip, _request: PhantomData }
    }

    /// Without the first bytes.
    #[must_use]
    pub fn after(self, bytes: usize) -> Self {
        Self { skip: self.skip.saturating_add(bytes), ..self }
    }

    /// The vector, and how many of its first bytes are not part of this.
    #[must_use]
    pub fn as_raw(self) -> (*mut QEMUIOVector, usize) {
        (self.qiov.as_ptr(), self.skip)
    }
}

/// Memory in one piece that may be lent to a library until the request ends.
#[derive(Debug, Clone, Copy)]
pub struct Span<'rq> {
    start: *mut u8,
    length: usize,
    _request: PhantomData<&'rq ()>,
}

impl Span<'_> {
    /// Wraps memory.
    ///
    /// # Safety
    /// It stays valid for the lifetime chosen by the caller, and until every operation that it was lent to has called back.
    #[must_use]
    pub unsafe fn from_raw(start: *mut u8, length: usize) -> Self {
        Self { start, length, _request: PhantomData }
    }

    /// The first byte, for a library call.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// How many bytes there are.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Fills everything from byte `from` on with zeroes.
    pub fn zero_from(&self, from: usize) {
        let rest = self.length.saturating_sub(from);
        // SAFETY: within the memory, which is valid (constructor); nobody but the guest, if it is the guest's, uses it now.
        unsafe { self.start.wrapping_add(from.min(self.length)).write_bytes(0, rest) }
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
            let element = self.iov.element(self.element);
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
