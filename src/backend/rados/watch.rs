// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Watching an object: hearing what other clients say about it.

use std::ffi::{c_int, c_void, CStr, CString};
use std::ptr;
use std::sync::Arc;

use super::pool::PoolHandle;
use crate::errno::Errno;
use crate::host::unwind;
use crate::sys::rados::{rados_notify_ack, rados_unwatch2, rados_watch3, rados_watch_flush};

/// Who hears. Called on threads of the library's, one call at a time for all objects of a connection: it must not block.
pub trait Watcher: Send + Sync {
    /// Somebody, known to the cluster as `client`, has said something. What this returns is sent back as acknowledgement.
    fn notified(&self, client: u64, message: &[u8]) -> Vec<u8>;

    /// The watch is broken: nothing is heard from here on, and something may have been missed.
    fn broken(&self, errno: Errno);
}

/// What the library calls back with.
struct Ear {
    pool: Arc<PoolHandle>,
    object: CString,
    watcher: Arc<dyn Watcher>,
}

/// A watch.
///
/// # Invariants
/// `ear` came from `Box::into_raw`, and is freed only after the library was told to forget it and no callback runs any more.
pub struct Watch {
    ear: *mut Ear,
    handle: u64,
}

// SAFETY: the ear is only used through shared references, and its parts may be used on any thread.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches an object. Blocks on the network.
    ///
    /// # Errors
    /// The server's: `ENOENT` without the object, `EACCES` without the right, `ESHUTDOWN` for a client that was shut out.
    pub fn new(pool: &Arc<PoolHandle>, object: &CStr, watcher: Arc<dyn Watcher>) -> Result<Self, Errno> {
        let ear = Ear { pool: Arc::clone(pool), object: object.to_owned(), watcher };
        let ear = Box::into_raw(Box::new(ear));
        let mut handle = 0;
        // SAFETY: handle and name are valid, the place is a local variable, and the ear lives until the watch has ended.
        let ret = unsafe {
            rados_watch3(
                pool.as_raw(),
                object.as_ptr(),
                &raw mut handle,
                Some(notified),
                Some(broken),
                0,
                ear.cast(),
            )
        };
        if let Err(errno) = Errno::check(ret.into()) {
            flush(pool);
            // SAFETY: the library has refused the watch, and no callback runs any more.
            drop(unsafe { Box::from_raw(ear) });
            return Err(errno);
        }
        // INVARIANT: the ear was just made.
        Ok(Self { ear, handle })
    }

    /// By which number the cluster knows the watch, together with the client's.
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.handle
    }
}

/// Waits until no callback of the connection's watches runs.
fn flush(pool: &PoolHandle) {
    // SAFETY: the cluster is valid.
    unsafe { rados_watch_flush(pool.cluster().as_raw()) };
}

impl Drop for Watch {
    /// Ends the watch. Blocks on the network.
    fn drop(&mut self) {
        // SAFETY: the ear is valid (type invariant).
        let pool = unsafe { Arc::clone(&(*self.ear).pool) };
        // A watch that is broken fails here, which is as good.
        // SAFETY: the pool's handle is valid.
        unsafe { rados_unwatch2(pool.as_raw(), self.handle) };
        flush(&pool);
        // SAFETY: the library has forgotten it, and no callback runs any more.
        drop(unsafe { Box::from_raw(self.ear) });
    }
}

/// Somebody has said something. On a thread of the library's.
unsafe extern "C" fn notified(
    ear: *mut c_void,
    notify_id: u64,
    handle: u64,
    client: u64,
    message: *mut c_void,
    length: usize,
) {
    // SAFETY: `Watch::new` passed it, and it lives until no callback runs any more.
    let ear = unsafe { &*ear.cast_const().cast::<Ear>() };
    let message = if message.is_null() || length == 0 {
        &[]
    } else {
        #[expect(clippy::disallowed_methods, reason = "private memory")]
        // SAFETY: the library passes that many bytes, for this call.
        unsafe {
            std::slice::from_raw_parts(message.cast_const().cast(), length)
        }
    };
    // Whatever happens here, the one who spoke must not wait for us.
    let answer = unwind::catch(|| ear.watcher.notified(client, message)).unwrap_or_default();
    let answer_length = c_int::try_from(answer.len()).unwrap_or(0);
    let bytes = if answer.is_empty() { ptr::null() } else { answer.as_ptr().cast() };
    // SAFETY: handle and name are valid, and the library copies the answer.
    unsafe {
        rados_notify_ack(ear.pool.as_raw(), ear.object.as_ptr(), notify_id, handle, bytes, answer_length)
    };
}

/// The watch is broken. On a thread of the library's.
unsafe extern "C" fn broken(ear: *mut c_void, _handle: u64, error: c_int) {
    // SAFETY: `Watch::new` passed it, and it lives until no callback runs any more.
    let ear = unsafe { &*ear.cast_const().cast::<Ear>() };
    let errno = Errno::from_code(error.saturating_neg());
    // A panic has been printed, and there is nothing else to be done about it here.
    let _printed = unwind::catch(|| ear.watcher.broken(errno));
}
