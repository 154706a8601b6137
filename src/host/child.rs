// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Children of a node: their names and flags, and operations on one of them in the request's own coroutine.

use std::ffi::{c_char, c_int, CStr};
use std::ptr::{self, NonNull};

use super::error::HostError;
use crate::errno::Errno;
use crate::iov::GuestPart;
use crate::range::ByteRange;
use crate::sys::host as raw;
use crate::sys::host::{BdrvChild, BlockDriverState, QbrChildIo, QbrFlags};

/// A child, as an opaque handle. It is valid from its attachment to its removal, both of which QEMU keeps apart from requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child(NonNull<BdrvChild>);

// SAFETY: it is only ever handed back to QEMU, whose functions are safe to call with it where callbacks run.
unsafe impl Send for Child {}
// SAFETY: as above.
unsafe impl Sync for Child {}

/// The request flags (`BDRV_REQ_*`) that a node takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Of writes.
    pub write: u32,
    /// Of write-zeroes.
    pub zero: u32,
    /// Of truncates.
    pub truncate: u32,
}

/// A new length, and how to reach it.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Bytes.
    pub bytes: i64,
    /// Whether the child has to end exactly there; else it may be longer.
    pub exact: bool,
    /// A `PreallocMode`.
    pub preallocation: u32,
    /// Request flags.
    pub flags: u32,
}

/// Permissions (`BLK_PERM_*`) on a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// What the node wants to do.
    pub wanted: u64,
    /// What others may do meanwhile.
    pub shared: u64,
}

/// A time without requests, also if it ends with a panic.
struct Drained(Child);

impl Drained {
    fn begin(child: Child) -> Self {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_child_drained_begin(child.as_raw()) }
        Self(child)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        // SAFETY: begun above, and the child is still there.
        unsafe { raw::qbr_host_child_drained_end(self.0.as_raw()) }
    }
}

impl Child {
    /// Wraps what QEMU has attached.
    ///
    /// # Safety
    /// `child` stays attached as long as the wrapper is used.
    #[must_use]
    pub unsafe fn from_raw(child: NonNull<BdrvChild>) -> Self {
        Self(child)
    }

    /// The handle for C.
    #[must_use]
    pub fn as_raw(self) -> *mut BdrvChild {
        self.0.as_ptr()
    }

    /// Its name within its parent, as "children.0".
    #[must_use]
    pub fn name(self) -> String {
        // SAFETY: valid by the constructor's contract.
        let name = unsafe { raw::qbr_host_child_name(self.as_raw()) };
        // SAFETY: the string is valid as long as the child.
        unsafe { owned(name) }
    }

    /// The name of its node.
    #[must_use]
    pub fn node_name(self) -> String {
        // SAFETY: valid by the constructor's contract.
        let name = unsafe { raw::qbr_host_child_node_name(self.as_raw()) };
        // SAFETY: the string is valid until the next graph change.
        unsafe { owned(name) }
    }

    /// The request flags that its node takes.
    #[must_use]
    pub fn flags(self) -> Flags {
        let mut flags = QbrFlags::default();
        // SAFETY: valid by the constructor's contract; the place is a local variable.
        unsafe { raw::qbr_host_child_flags(self.as_raw(), &raw mut flags) }
        Flags { write: flags.write, zero: flags.zero, truncate: flags.truncate }
    }

    /// Whether the node has permission to write to it now.
    #[must_use]
    pub fn may_be_written(self) -> bool {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_child_may_be_written(self.as_raw()) }
    }

    /// Whether zeroes that are written with `QBR_REQ_MAY_UNMAP` give space back.
    #[must_use]
    pub fn unmaps(self) -> bool {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_child_unmaps(self.as_raw()) }
    }

    /// What ranges have to be multiples of, in bytes, so that its node writes zeroes there quickly if it can.
    #[must_use]
    pub fn zero_alignment(self) -> u32 {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_child_zero_alignment(self.as_raw()) }
    }

    /// Whether its node is `node`, and has no other parent than this one.
    #[must_use]
    pub fn is_only_parent_of(self, node: NonNull<BlockDriverState>) -> bool {
        // SAFETY: valid by the constructor's contract; the caller got the node from QEMU.
        unsafe { raw::qbr_host_child_is_only_parent_of(self.as_raw(), node.as_ptr()) }
    }

    /// Does something while its node, and what is above that, has no requests but those of `work`, which leaves it attached. Main
    /// loop, which may run meanwhile.
    pub fn drained<T>(self, work: impl FnOnce() -> T) -> T {
        let _section = Drained::begin(self);
        work()
    }

    /// Reads into guest memory. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    #[inline]
    pub fn read(self, to: GuestPart<'_>, range: ByteRange) -> Result<(), Errno> {
        let (qiov, skip) = to.as_raw();
        // SAFETY: child and vector are valid until the call returns, and the block layer stays within the vector.
        done(unsafe { raw::qbr_host_child_read(self.as_raw(), range.offset(), range.bytes(), qiov, skip, 0) })
    }

    /// Writes guest memory. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    #[inline]
    pub fn write(self, from: GuestPart<'_>, range: ByteRange, flags: u32) -> Result<(), Errno> {
        let (qiov, skip) = from.as_raw();
        // SAFETY: as in `read`.
        done(unsafe {
            raw::qbr_host_child_write(self.as_raw(), range.offset(), range.bytes(), qiov, skip, flags)
        })
    }

    /// Writes zeroes. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    pub fn write_zeroes(self, range: ByteRange, flags: u32) -> Result<(), Errno> {
        let mut io = QbrChildIo { op: raw::QBR_CHILD_WRITE_ZEROES, flags, ..of_range(range) };
        self.run(&mut io).map(drop)
    }

    /// Gives back the space of a range. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    pub fn discard(self, range: ByteRange) -> Result<(), Errno> {
        let mut io = QbrChildIo { op: raw::QBR_CHILD_DISCARD, ..of_range(range) };
        self.run(&mut io).map(drop)
    }

    /// Whether a range begins with something that the child has, or what backs it down to, but without, `base`; and how far that
    /// reaches. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    pub fn allocated_above(self, base: Self, range: ByteRange) -> Result<(bool, i64), Errno> {
        let mut reach = 0;
        let mut io = QbrChildIo {
            op: raw::QBR_CHILD_ALLOCATED_ABOVE,
            base: base.as_raw(),
            pnum: &raw mut reach,
            ..of_range(range)
        };
        let answer = self.run(&mut io)?;
        Ok((answer > 0, reach))
    }

    /// Its length in bytes. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    pub fn length(self) -> Result<i64, Errno> {
        self.run(&mut QbrChildIo { op: raw::QBR_CHILD_LENGTH, ..QbrChildIo::default() })
    }

    /// `BDRV_BLOCK_*` of a range, and for how many bytes from its start on they hold. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's.
    pub fn block_status(self, mode: u32, range: ByteRange) -> Result<(i32, i64), Errno> {
        let mut reach = 0;
        let mut io = QbrChildIo {
            op: raw::QBR_CHILD_BLOCK_STATUS,
            flags: mode,
            offset: range.offset(),
            bytes: range.bytes(),
            pnum: &raw mut reach,
            ..QbrChildIo::default()
        };
        let status = self.run(&mut io)?;
        Ok((i32::try_from(status).unwrap_or(0), reach))
    }

    /// Sets its length. The coroutine may sleep.
    ///
    /// # Errors
    /// The child's, with what it has to say.
    pub fn truncate(self, length: Length) -> Result<(), (Errno, HostError)> {
        let mut error = ptr::null_mut();
        let mut io = QbrChildIo {
            op: raw::QBR_CHILD_TRUNCATE,
            flags: length.flags,
            offset: length.bytes,
            errp: &raw mut error,
            preallocation: length.preallocation,
            exact: length.exact,
            ..QbrChildIo::default()
        };
        let result = self.run(&mut io);
        // SAFETY: the error is ours, if there is one.
        let error = unsafe { HostError::from_raw(error) };
        result.map(drop).map_err(|errno| (errno, error))
    }

    /// Runs an operation in the calling coroutine.
    fn run(self, io: &mut QbrChildIo) -> Result<i64, Errno> {
        io.child = self.as_raw();
        // SAFETY: the description is valid until the call returns, and so is what it points to.
        Errno::check(unsafe { raw::qbr_host_child_run(ptr::from_mut(io)) })
    }
}

/// What a transfer has returned.
#[inline]
fn done(ret: c_int) -> Result<(), Errno> {
    if ret >= 0 {
        return Ok(());
    }
    Err(failed(ret))
}

/// Out of the way of the frequent case.
#[cold]
fn failed(ret: c_int) -> Errno {
    Errno::from_code(ret.saturating_neg())
}

/// An operation on a range.
fn of_range(range: ByteRange) -> QbrChildIo {
    QbrChildIo { offset: range.offset(), bytes: range.bytes(), ..QbrChildIo::default() }
}

/// A copy of a string from C; NULL is empty.
///
/// # Safety
/// `text` is NULL or a valid string.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
