// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Several things to do with one object at once: all of them happen, or none.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::io::Operation;
use super::pool::PoolHandle;
use crate::errno::Errno;
use crate::host::Request;
use crate::sys::rados::{
    rados_aio_ioctx_selfmanaged_snap_create, rados_aio_ioctx_selfmanaged_snap_remove, rados_aio_notify,
    rados_aio_read_op_operate, rados_aio_write_op_operate, rados_buffer_free, rados_completion_t,
    rados_create_read_op, rados_create_write_op, rados_read_op_assert_exists, rados_read_op_exec,
    rados_read_op_read, rados_release_read_op, rados_release_write_op, rados_write_op_assert_exists,
    rados_write_op_assert_version, rados_write_op_create, rados_write_op_exec, rados_write_op_remove,
    rados_write_op_truncate, rados_write_op_write, rados_write_op_write_full, rados_write_op_writesame,
    rados_write_op_zero, LIBRADOS_CREATE_EXCLUSIVE, LIBRADOS_OPERATION_FULL_TRY,
    LIBRADOS_OPERATION_ORDER_READS_WRITES,
};

/// What one member of a read brings.
#[derive(Debug)]
struct Output {
    /// Memory of the library's, ours to free.
    data: *mut c_char,
    length: usize,
    result: c_int,
    /// Memory of our own, for a plain read.
    own: Vec<u8>,
}

impl Output {
    /// Nothing yet; on its own in memory, as the library keeps its address.
    fn new(own: Vec<u8>) -> Box<Self> {
        Box::new(Self { data: ptr::null_mut(), length: 0, result: 0, own })
    }

    /// What came.
    fn bytes(&self) -> &[u8] {
        if self.data.is_null() {
            return self.own.get(..self.length.min(self.own.len())).unwrap_or_default();
        }
        #[expect(clippy::disallowed_methods, reason = "private memory")]
        // SAFETY: the library has allocated that many bytes for us, and is done with them.
        unsafe {
            std::slice::from_raw_parts(self.data.cast_const().cast(), self.length)
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.data.is_null() {
            // SAFETY: the library has allocated it for us.
            unsafe { rados_buffer_free(self.data) }
        }
    }
}

/// Things to ask of one object.
#[derive(Debug)]
pub struct ReadOp {
    raw: NonNull<c_void>,
    // On their own in memory each, as the library keeps their addresses.
    #[expect(clippy::vec_box, reason = "the library keeps their addresses")]
    outputs: Vec<Box<Output>>,
    in_order: bool,
}

impl ReadOp {
    /// Nothing yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: no precondition.
        let raw = unsafe { rados_create_read_op() };
        NonNull::new(raw).map(|raw| Self { raw, outputs: Vec::new(), in_order: false }).ok_or(Errno::ENOMEM)
    }

    /// Is answered behind all changes of the object that this client has sent before, also those that it has given up. A server answers
    /// other reads while a change waits: for a copy that is missing, or for a scrub. Not for snapshots of objects.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// The flags of the operation.
    fn flags(&self) -> c_int {
        if !self.in_order {
            return 0;
        }
        // In a full pool the library holds back what is in order with changes, unless it is to be tried.
        c_int::try_from(LIBRADOS_OPERATION_ORDER_READS_WRITES | LIBRADOS_OPERATION_FULL_TRY).unwrap_or(0)
    }

    /// The object must exist: `ENOENT`.
    #[must_use]
    pub fn assert_exists(self) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_read_op_assert_exists(self.raw.as_ptr()) }
        self
    }

    /// Adds a call of a method.
    #[must_use]
    pub fn exec(mut self, class: &CStr, method: &CStr, input: &[u8]) -> Self {
        let mut output = Output::new(Vec::new());
        // SAFETY: the operation is ours, the library copies names and input, and the output stays where it is until the operation
        // has landed, or for ever.
        unsafe {
            rados_read_op_exec(
                self.raw.as_ptr(),
                class.as_ptr(),
                method.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                &raw mut output.data,
                &raw mut output.length,
                &raw mut output.result,
            );
        }
        self.outputs.push(output);
        self
    }

    /// Adds a read of the object's first `most` bytes.
    #[must_use]
    pub fn read(mut self, most: usize) -> Self {
        let mut output = Output::new(vec![0; most]);
        let place: *mut c_char = output.own.as_mut_ptr().cast();
        // SAFETY: as in `exec`.
        unsafe {
            rados_read_op_read(
                self.raw.as_ptr(),
                0,
                most,
                place,
                &raw mut output.length,
                &raw mut output.result,
            );
        }
        self.outputs.push(output);
        self
    }
}

impl Drop for ReadOp {
    fn drop(&mut self) {
        // SAFETY: the operation is ours; once submitted, the library works with what it has taken out of it.
        unsafe { rados_release_read_op(self.raw.as_ptr()) }
    }
}

/// The answers to a [`ReadOp`].
#[derive(Debug)]
pub struct Replies {
    #[expect(clippy::vec_box, reason = "the library kept their addresses")]
    outputs: Vec<Box<Output>>,
    version: u64,
}

impl Replies {
    /// The answer to the member with that number; nothing if there is no such member.
    #[must_use]
    pub fn bytes(&self, member: usize) -> &[u8] {
        self.outputs.get(member).map_or(&[], |output| output.bytes())
    }

    /// The version of the object that was read.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// What those who were notified have answered, encoded as the notify protocol says.
#[derive(Debug)]
pub struct Answers(Box<Output>);

impl Answers {
    /// The encoded answers; nothing if there were none.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Changes of one object.
#[derive(Debug)]
pub struct WriteOp(NonNull<c_void>);

impl WriteOp {
    /// Nothing yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: no precondition.
        NonNull::new(unsafe { rados_create_write_op() }).map(Self).ok_or(Errno::ENOMEM)
    }

    /// The object must not exist, and is created: `EEXIST`.
    #[must_use]
    pub fn create_exclusive(self) -> Self {
        let exclusive = c_int::try_from(LIBRADOS_CREATE_EXCLUSIVE).unwrap_or(1);
        // SAFETY: the operation is ours; the third argument is not used by the library.
        unsafe { rados_write_op_create(self.0.as_ptr(), exclusive, ptr::null()) }
        self
    }

    /// The object must exist: `ENOENT`.
    #[must_use]
    pub fn assert_exists(self) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_write_op_assert_exists(self.0.as_ptr()) }
        self
    }

    /// The object must have that version: `ERANGE` if it is newer, `EOVERFLOW` if it is older or missing.
    #[must_use]
    pub fn assert_version(self, version: u64) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_write_op_assert_version(self.0.as_ptr(), version) }
        self
    }

    /// Adds a call of a method.
    #[must_use]
    pub fn exec(self, class: &CStr, method: &CStr, input: &[u8]) -> Self {
        // SAFETY: the operation is ours, and the library copies names and input; the result isn't asked for.
        unsafe {
            rados_write_op_exec(
                self.0.as_ptr(),
                class.as_ptr(),
                method.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                ptr::null_mut(),
            );
        }
        self
    }

    /// Writes private bytes at `offset`.
    #[must_use]
    pub fn write(self, bytes: &[u8], offset: u64) -> Self {
        // SAFETY: the operation is ours, and the library copies the bytes.
        unsafe { rados_write_op_write(self.0.as_ptr(), bytes.as_ptr().cast(), bytes.len(), offset) }
        self
    }

    /// Makes private bytes the whole content.
    #[must_use]
    pub fn write_full(self, bytes: &[u8]) -> Self {
        // SAFETY: the operation is ours, and the library copies the bytes.
        unsafe { rados_write_op_write_full(self.0.as_ptr(), bytes.as_ptr().cast(), bytes.len()) }
        self
    }

    /// Writes `pattern` again and again, `length` bytes, a multiple of its length.
    #[must_use]
    pub fn write_same(self, pattern: &[u8], length: u64, offset: u64) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = pattern.as_ptr().cast();
        // SAFETY: the operation is ours, and the library copies the pattern.
        unsafe { rados_write_op_writesame(self.0.as_ptr(), bytes, pattern.len(), length, offset) }
        self
    }

    /// Makes a hole; one that reaches the object's end shortens the object. A missing object stays missing.
    #[must_use]
    pub fn zero(self, offset: u64, length: u64) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_write_op_zero(self.0.as_ptr(), offset, length) }
        self
    }

    /// Sets the length. A missing object stays missing.
    #[must_use]
    pub fn truncate(self, length: u64) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_write_op_truncate(self.0.as_ptr(), length) }
        self
    }

    /// Removes the object: `ENOENT`.
    #[must_use]
    pub fn remove(self) -> Self {
        // SAFETY: the operation is ours.
        unsafe { rados_write_op_remove(self.0.as_ptr()) }
        self
    }
}

impl Drop for WriteOp {
    fn drop(&mut self) {
        // SAFETY: the operation is ours; once submitted, the library works with what it has taken out of it.
        unsafe { rados_release_write_op(self.0.as_ptr()) }
    }
}

/// An operation that brings something: its places must outlive it, whatever happens to whoever waits for it.
struct Pending<T> {
    operation: Operation,
    /// Dropped only after the operation has landed, and leaked if nobody waits for that.
    places: ManuallyDrop<T>,
}

impl<T> Pending<T> {
    /// Waits; gives the places, the version of the object, and what the library returned.
    async fn land(mut self) -> (T, u64, Result<i64, Errno>) {
        let landed = (&mut self.operation).await;
        let version = self.operation.version();
        // Nothing is in flight any more.
        let places = ManuallyDrop::into_inner(self.places);
        (places, version, landed.and_then(Errno::check))
    }
}

impl PoolHandle {
    /// Submits an operation that writes to `places`.
    fn submit_with<T>(
        &self,
        rq: &Request,
        mut places: T,
        call: impl FnOnce(*mut c_void, rados_completion_t, &mut T) -> c_int,
    ) -> Pending<T> {
        let operation = self.submit(rq, |io, completion| call(io, completion, &mut places));
        Pending { operation, places: ManuallyDrop::new(places) }
    }

    /// Asks; the whole operation fails with the error of its first member that fails.
    ///
    /// # Errors
    /// The server's: `ENOENT` without the object, `EOPNOTSUPP` for a method that it doesn't have.
    pub async fn ask(&self, rq: &Request, object: &CStr, mut op: ReadOp) -> Result<Replies, Errno> {
        let outputs = std::mem::take(&mut op.outputs);
        let pending = self.submit_with(rq, outputs, |io, completion, _| {
            let (raw, object, flags) = (op.raw.as_ptr(), object.as_ptr(), op.flags());
            // SAFETY: handle and operation are valid, the library copies the name, and the places of the operation outlive it.
            unsafe { rados_aio_read_op_operate(raw, io, completion, object, flags) }
        });
        drop(op);
        let (outputs, version, result) = pending.land().await;
        result?;
        for output in &outputs {
            Errno::check(output.result.into())?;
        }
        Ok(Replies { outputs, version })
    }

    /// Asks whether the object exists, 0 or `ENOENT`, behind all changes of it that this client has sent before.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn exists_in_order(&self, rq: &Request, object: &CStr) -> Result<Operation, Errno> {
        let op = ReadOp::new()?.in_order().assert_exists();
        Ok(self.submit(rq, |io, completion| {
            let (raw, object, flags) = (op.raw.as_ptr(), object.as_ptr(), op.flags());
            // SAFETY: handle and operation are valid, the library copies the name, and the operation brings nothing.
            unsafe { rados_aio_read_op_operate(raw, io, completion, object, flags) }
        }))
    }

    /// Submits changes.
    pub fn change(&self, rq: &Request, object: &CStr, op: WriteOp) -> Operation {
        let done = self.submit(rq, |io, completion| {
            let (op, object, now) = (op.0.as_ptr(), object.as_ptr(), ptr::null_mut());
            // SAFETY: handle and operation are valid, and the library copies the name.
            unsafe { rados_aio_write_op_operate(op, io, completion, object, now, 0) }
        });
        drop(op);
        done
    }

    /// A new number for a snapshot of objects in this pool.
    ///
    /// # Errors
    /// The monitor's.
    pub async fn create_snapshot_id(&self, rq: &Request) -> Result<u64, Errno> {
        let pending = self.submit_with(rq, Box::new(0), |io, completion, id| {
            // SAFETY: the handle is valid, and the place outlives the operation.
            unsafe { rados_aio_ioctx_selfmanaged_snap_create(io, &raw mut **id, completion) };
            0
        });
        let (id, _, result) = pending.land().await;
        result.map(|_| *id)
    }

    /// Gives the number of a snapshot back, and what its objects keep for it.
    ///
    /// # Errors
    /// The monitor's.
    pub async fn remove_snapshot_id(&self, rq: &Request, id: u64) -> Result<(), Errno> {
        let done = self.submit(rq, |io, completion| {
            // SAFETY: the handle is valid.
            unsafe { rados_aio_ioctx_selfmanaged_snap_remove(io, id, completion) };
            0
        });
        Errno::check(done.await?).map(drop)
    }

    /// Tells all who watch the object, and waits for their acknowledgements or for the timeout: `ETIMEDOUT` if somebody didn't
    /// acknowledge, else the server's error. What those who did have answered is there in any case.
    pub async fn notify(
        &self,
        rq: &Request,
        object: &CStr,
        message: &[u8],
        timeout_ms: u64,
    ) -> (Result<(), Errno>, Answers) {
        let length = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
        let pending = self.submit_with(rq, Output::new(Vec::new()), |io, completion, reply| {
            // SAFETY: the handle is valid, the library copies name and message, and the places outlive the operation.
            unsafe {
                rados_aio_notify(
                    io,
                    object.as_ptr(),
                    completion,
                    message.as_ptr().cast(),
                    length,
                    timeout_ms,
                    &raw mut reply.data,
                    &raw mut reply.length,
                )
            }
        });
        let (answers, _, result) = pending.land().await;
        (result.map(drop), Answers(answers))
    }
}
