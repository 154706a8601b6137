// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! An open file: synchronous calls, and asynchronous ones that complete a token.
//!
//! The synchronous calls block on the network; a driver runs them through `host::spawn_blocking` wherever the caller may be a
//! coroutine.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use libc::{off_t, ssize_t};

use super::connection::Connection;
use super::error::Error;
use crate::errno::Errno;
use crate::host::{Completion, Request, Token};
use crate::iov::GuestIov;
use crate::range::ByteRange;
use crate::sys::gfapi::{
    glfs_close, glfs_discard_async, glfs_dup, glfs_fallocate, glfs_fd, glfs_fstat, glfs_fsync_async,
    glfs_ftruncate, glfs_io_cbk, glfs_lseek, glfs_pread, glfs_preadv_async, glfs_pwritev_async, glfs_stat,
    glfs_zerofill, glfs_zerofill_async,
};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The next data.
    Data,
    /// The next hole, which may be the end of the file.
    Hole,
}

/// How large a file is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Where it ends.
    pub length: i64,
    /// What it occupies on its bricks, as the volume reports it.
    pub allocated: i64,
}

/// An open file.
///
/// # Invariants
/// `fd` and `seeker` are valid until `close` or drop. Operations in flight hold their own reference to `fd` inside the library.
#[derive(Debug)]
pub struct File {
    fd: NonNull<glfs_fd>,
    /// A second descriptor of the file, for searches alone. `glfs_lseek` answers with the descriptor's position, which every read
    /// and write moves when it ends.
    seeker: Option<Mutex<NonNull<glfs_fd>>>,
    /// Dropped after the file is closed, because `Drop` runs before the fields go.
    connection: Connection,
}

// SAFETY: libgfapi serialises on its own locks; its asynchronous calls hand a glfs_fd_t from thread to thread themselves.
unsafe impl Send for File {}
// SAFETY: as above.
unsafe impl Sync for File {}

impl File {
    /// Wraps a new descriptor of `connection`'s.
    pub(super) fn new(fd: NonNull<glfs_fd>, connection: Connection) -> Self {
        // INVARIANT: the caller has just opened it.
        Self { fd, seeker: None, connection }
    }

    /// The same file, ready for [`File::seek`].
    ///
    /// # Errors
    /// `ENOMEM`, or that the connection is gone; the file is closed then.
    pub(super) fn searchable(mut self) -> Result<Self, Error> {
        // SAFETY: `fd` is valid (type invariant).
        let fd = unsafe { glfs_dup(self.fd.as_ptr()) };
        // INVARIANT: it is new, and nobody else has it.
        self.seeker = Some(Mutex::new(NonNull::new(fd).ok_or_else(|| Error::last("glfs_dup"))?));
        Ok(self)
    }

    /// The connection that the file belongs to.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Looks for data or a hole from `offset` on; the result is in bytes from the beginning of the file. One search at a time.
    ///
    /// # Errors
    /// `ENXIO` if there is no data from `offset` on, else the server's; `ENOTSUP` for a file that was just created.
    // DIVERGES: on a descriptor of its own. The C driver searches on the one that it reads and writes with, and a request that ends
    // meanwhile puts its own end in the place of the answer.
    pub fn seek(&self, offset: i64, target: Target) -> Result<i64, Error> {
        const OP: &str = "glfs_lseek";
        let whence = match target {
            Target::Data => libc::SEEK_DATA,
            Target::Hole => libc::SEEK_HOLE,
        };
        let seeker = self.seeker.as_ref().ok_or(Error { op: OP, errno: Errno::ENOTSUP })?;
        let fd = seeker.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the descriptor is valid (type invariant). Its position is nobody else's while the lock is held.
        let ret = unsafe { glfs_lseek(fd.as_ptr(), offset, whence) };
        let result = Error::check(OP, ret);
        drop(fd);
        result
    }

    /// Length and size on disk.
    ///
    /// # Errors
    /// The server's.
    pub fn size(&self) -> Result<Size, Error> {
        /// `st_blocks` counts in these.
        const BLOCK: i64 = 512;
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: `fd` is valid (type invariant), and `stat` is a writable struct stat.
        let ret = unsafe { glfs_fstat(self.fd.as_ptr(), stat.as_mut_ptr()) };
        Error::check("glfs_fstat", ret.into())?;
        // SAFETY: zeroed is a valid struct stat, and the call filled it.
        let stat = unsafe { stat.assume_init() };
        Ok(Size { length: stat.st_size, allocated: stat.st_blocks.saturating_mul(BLOCK) })
    }

    /// Reads `bytes` bytes from the beginning of the file into memory of its own, which is thrown away: whether a request of that
    /// size is allowed.
    ///
    /// # Errors
    /// `EINVAL` if the bricks demand a larger alignment (`O_DIRECT`), else the server's; `ENOMEM`.
    pub fn try_read(&self, bytes: usize) -> Result<(), Error> {
        const OP: &str = "glfs_pread";
        let mut buffer: Vec<u8> = Vec::new();
        buffer.try_reserve_exact(bytes).map_err(|_| Error { op: OP, errno: Errno::ENOMEM })?;
        // SAFETY: `fd` is valid (type invariant), and the buffer has room for `bytes` bytes.
        let ret =
            unsafe { glfs_pread(self.fd.as_ptr(), buffer.as_mut_ptr().cast(), bytes, 0, 0, ptr::null_mut()) };
        Error::check(OP, i64::try_from(ret).unwrap_or(-1)).map(drop)
    }

    /// Sets the length; new bytes read as zeroes.
    ///
    /// # Errors
    /// The server's.
    pub fn truncate(&self, length: i64) -> Result<(), Error> {
        // SAFETY: `fd` is valid (type invariant); the attributes are not wanted.
        let ret = unsafe { glfs_ftruncate(self.fd.as_ptr(), length, ptr::null_mut(), ptr::null_mut()) };
        Error::check("glfs_ftruncate", ret.into()).map(drop)
    }

    /// Reserves space for a range, and grows the file to its end.
    ///
    /// # Errors
    /// The server's; `ENOTSUP` where a brick can't.
    pub fn allocate(&self, range: ByteRange) -> Result<(), Error> {
        // SAFETY: `fd` is valid (type invariant).
        let ret = unsafe { glfs_fallocate(self.fd.as_ptr(), 0, range.offset(), range.len()) };
        Error::check("glfs_fallocate", ret.into()).map(drop)
    }

    /// Writes zeroes to a range, waiting for it.
    ///
    /// # Errors
    /// The server's.
    pub fn zero(&self, range: ByteRange) -> Result<(), Error> {
        // SAFETY: `fd` is valid (type invariant).
        let ret = unsafe { glfs_zerofill(self.fd.as_ptr(), range.offset(), range.bytes()) };
        Error::check("glfs_zerofill", ret.into()).map(drop)
    }

    /// Closes the file and waits for what the client still had to write.
    ///
    /// # Errors
    /// What went wrong with it. The file is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: no descriptor of `this` is used again.
        let result = unsafe { this.close_descriptors() };
        // SAFETY: `this` is never dropped as a whole, so the connection is moved out exactly once.
        drop(unsafe { ptr::read(&raw const this.connection) });
        result
    }

    /// Closes both descriptors, whatever becomes of each; the first error.
    ///
    /// # Safety
    /// They are not used again.
    unsafe fn close_descriptors(&self) -> Result<(), Error> {
        let close = |fd: NonNull<glfs_fd>| {
            // SAFETY: it is valid (type invariant), and the caller uses it no more.
            let ret = unsafe { glfs_close(fd.as_ptr()) };
            Error::check("glfs_close", ret.into()).map(drop)
        };
        let seeker =
            self.seeker.as_ref().map(|seeker| *seeker.lock().unwrap_or_else(PoisonError::into_inner));
        let first = seeker.map_or(Ok(()), close);
        first.and(close(self.fd))
    }

    /// Starts a read into a request's memory, without the memory's first `skip` bytes, from `offset` on.
    ///
    /// The result is the number of bytes read; see [`Errno::check`].
    pub fn preadv(&self, request: &Request, iov: &GuestIov<'_>, skip: usize, offset: i64) -> Completion {
        self.vectored(request, iov, skip, |fd, elements, count, data| {
            // SAFETY: `fd` is valid (type invariant). The library copies the element array, and the memory outlives
            // the operation: `block_on` waits for it.
            unsafe { glfs_preadv_async(fd, elements, count, offset, 0, COMPLETED, data) }
        })
    }

    /// Starts a write of a request's memory, without the memory's first `skip` bytes, to `offset`.
    ///
    /// The result is the number of bytes written; see [`Errno::check`].
    pub fn pwritev(&self, request: &Request, iov: &GuestIov<'_>, skip: usize, offset: i64) -> Completion {
        self.vectored(request, iov, skip, |fd, elements, count, data| {
            // SAFETY: as in `preadv`; the library copies the data before it returns.
            unsafe { glfs_pwritev_async(fd, elements, count, offset, 0, COMPLETED, data) }
        })
    }

    /// Starts writing back everything that was acknowledged.
    pub fn fsync(&self, request: &Request) -> Completion {
        self.submit(request, |fd, data| {
            // SAFETY: `fd` is valid (type invariant).
            unsafe { glfs_fsync_async(fd, COMPLETED, data) }
        })
    }

    /// Starts giving back the space of a range.
    pub fn discard(&self, request: &Request, range: ByteRange) -> Completion {
        self.submit(request, |fd, data| {
            // SAFETY: `fd` is valid (type invariant).
            unsafe { glfs_discard_async(fd, range.offset(), range.len(), COMPLETED, data) }
        })
    }

    /// Starts writing zeroes to a range.
    pub fn zerofill(&self, request: &Request, range: ByteRange) -> Completion {
        self.submit(request, |fd, data| {
            // SAFETY: `fd` is valid (type invariant).
            unsafe { glfs_zerofill_async(fd, range.offset(), range.bytes(), COMPLETED, data) }
        })
    }

    /// Submits a call that takes an element array.
    fn vectored(
        &self,
        request: &Request,
        iov: &GuestIov<'_>,
        skip: usize,
        call: impl FnOnce(*mut glfs_fd, *const libc::iovec, c_int, *mut c_void) -> c_int,
    ) -> Completion {
        let rest = if skip == 0 { Some(Vec::new()) } else { iov.remainder(skip) };
        request.submit(|token| {
            let rest = rest.as_ref().ok_or(Errno::ENOMEM)?;
            let (elements, count) =
                if skip == 0 { (iov.as_ptr(), iov.count()) } else { (rest.as_ptr(), rest.len()) };
            let count = c_int::try_from(count).map_err(|_| Errno::EINVAL)?;
            submitted(call(self.fd.as_ptr(), elements, count, token.as_raw()))
        })
    }

    /// Submits any other call.
    fn submit(&self, request: &Request, call: impl FnOnce(*mut glfs_fd, *mut c_void) -> c_int) -> Completion {
        request.submit(|token| submitted(call(self.fd.as_ptr(), token.as_raw())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: no descriptor is used again. Whoever wants to know the error calls `close`.
        drop(unsafe { self.close_descriptors() });
    }
}

/// What a submit call returned; must come directly after it.
fn submitted(ret: c_int) -> Result<(), Errno> {
    if ret < 0 {
        return Err(Errno::last());
    }
    Ok(())
}

/// How every asynchronous call reports back.
const COMPLETED: glfs_io_cbk = Some(completed);

/// Called by libgfapi on one of its threads.
unsafe extern "C" fn completed(
    _fd: *mut glfs_fd,
    ret: ssize_t,
    _before: *mut glfs_stat,
    _after: *mut glfs_stat,
    data: *mut c_void,
) {
    let result =
        if ret < 0 { i64::from(Errno::last().to_ret()) } else { i64::try_from(ret).unwrap_or(i64::MAX) };
    // SAFETY: `data` is what `Request::submit` gave to the call.
    unsafe { Token::complete(data, result) }
}

const _: () = assert!(size_of::<off_t>() == size_of::<i64>(), "offsets are 64 bits wide");
