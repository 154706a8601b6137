// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Operations on the data of one object, each one library call; and the callback in which all of them end.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use super::pool::PoolHandle;
use crate::errno::Errno;
use crate::host::{Completion, Request, Token};
use crate::iov::Span;
use crate::sys::rados::{
    rados_aio_create_completion2, rados_aio_get_return_value, rados_aio_get_version, rados_aio_read,
    rados_aio_release, rados_aio_remove, rados_aio_stat, rados_aio_write, rados_aio_write_full,
    rados_completion_t,
};

/// An operation under way: a future of what the library returns for it.
///
/// It keeps a share of the library's completion until it goes, so that this is freed on the thread that has allocated it: with
/// every completion freed on a thread of the library's, both would wait for each other's memory again and again.
#[derive(Debug)]
#[must_use = "what the server answers is lost"]
pub struct Operation {
    landing: Completion,
    completion: rados_completion_t,
}

// SAFETY: a completion may be released on any thread.
unsafe impl Send for Operation {}

impl Future for Operation {
    type Output = Result<i64, Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.landing).poll(context)
    }
}

impl Operation {
    /// The version of the object, once it has landed; 0 if nothing was submitted.
    pub(super) fn version(&self) -> u64 {
        if self.completion.is_null() {
            return 0;
        }
        // SAFETY: our share of it is given back when this goes.
        unsafe { rados_aio_get_version(self.completion) }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.completion.is_null() {
            // SAFETY: our share of it, which nobody else gives back; the library keeps its own until it has called back.
            unsafe { rados_aio_release(self.completion) }
        }
    }
}

impl PoolHandle {
    /// Reads from `offset` on as many bytes as `to` has; the result is how many there were before the object's end.
    ///
    /// A read of nothing is refused with `EINVAL`: the library would take it for the whole object.
    pub fn read(&self, rq: &Request, object: &CStr, to: Span<'_>, offset: u64) -> Operation {
        self.submit(rq, |io, completion| {
            if to.length() == 0 {
                return Errno::EINVAL.to_ret();
            }
            let place: *mut c_char = to.as_ptr().cast();
            // SAFETY: the handle is valid, the name is copied, and a span stays valid until the operation has landed.
            unsafe { rados_aio_read(io, object.as_ptr(), completion, place, to.length(), offset) }
        })
    }

    /// Writes at `offset`. The library copies the bytes before this returns.
    pub fn write(&self, rq: &Request, object: &CStr, from: Span<'_>, offset: u64) -> Operation {
        self.submit(rq, |io, completion| {
            let place: *const c_char = from.as_ptr().cast_const().cast();
            // SAFETY: the handle and the span are valid, and the library copies name and bytes.
            unsafe { rados_aio_write(io, object.as_ptr(), completion, place, from.length(), offset) }
        })
    }

    /// Writes the whole object, which then has this length. The library copies the bytes before this returns.
    pub fn write_full(&self, rq: &Request, object: &CStr, from: Span<'_>) -> Operation {
        self.submit(rq, |io, completion| {
            let place: *const c_char = from.as_ptr().cast_const().cast();
            // SAFETY: the handle and the span are valid, and the library copies name and bytes.
            unsafe { rados_aio_write_full(io, object.as_ptr(), completion, place, from.length()) }
        })
    }

    /// Removes the object; `ENOENT` if it isn't there.
    pub fn remove(&self, rq: &Request, object: &CStr) -> Operation {
        // SAFETY: the handle is valid, and the library copies the name.
        self.submit(rq, |io, completion| unsafe { rados_aio_remove(io, object.as_ptr(), completion) })
    }

    /// Whether the object exists: 0, or `ENOENT`.
    pub fn exists(&self, rq: &Request, object: &CStr) -> Operation {
        self.submit(rq, |io, completion| {
            // SAFETY: the handle is valid, the library copies the name, and it may be told nothing of size and time.
            unsafe { rados_aio_stat(io, object.as_ptr(), completion, ptr::null_mut(), ptr::null_mut()) }
        })
    }

    /// Submits one operation.
    pub(super) fn submit(
        &self,
        rq: &Request,
        call: impl FnOnce(*mut c_void, rados_completion_t) -> c_int,
    ) -> Operation {
        let mut completion = ptr::null_mut();
        let landing = rq.submit(|token| {
            completion = new_completion(token.as_raw(), completed)?;
            Errno::check(call(self.as_raw(), completion).into()).map(drop)
        });
        Operation { landing, completion }
    }
}

/// A completion that calls `callback` with `arg`.
fn new_completion(
    arg: *mut c_void,
    callback: unsafe extern "C" fn(rados_completion_t, *mut c_void),
) -> Result<rados_completion_t, Errno> {
    let mut completion: rados_completion_t = ptr::null_mut();
    // SAFETY: the place is a local variable, and the callback takes any argument that is a token's.
    let ret = unsafe { rados_aio_create_completion2(arg, Some(callback), &raw mut completion) };
    Errno::check(ret.into())?;
    Ok(completion)
}

/// An operation has ended. On a thread of the library's.
unsafe extern "C" fn completed(completion: rados_completion_t, token: *mut c_void) {
    // SAFETY: the library passes a completion that is valid during the callback.
    let ret = unsafe { rados_aio_get_return_value(completion) };
    // SAFETY: `submit` passed the token's pointer.
    unsafe { Token::complete(token, ret.into()) }
}
