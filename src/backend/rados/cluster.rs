// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! A connection to a cluster.

use std::ffi::{c_char, CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use super::pool::PoolHandle;
use crate::errno::Errno;
use crate::sys::rados::{
    rados_blocklist_add, rados_conf_get, rados_conf_read_file, rados_conf_set, rados_connect, rados_create,
    rados_get_instance_id, rados_shutdown, rados_t, rados_wait_for_latest_osdmap,
};

/// A client of a cluster, connected or about to be.
///
/// # Invariants
/// `raw` is valid until drop, when nobody uses it any more: pools hold a share in it.
#[derive(Debug)]
pub struct Cluster {
    raw: NonNull<std::ffi::c_void>,
    shut_out: AtomicBool,
}

// SAFETY: a rados_t may be used on any thread, says its header.
unsafe impl Send for Cluster {}
// SAFETY: as above; it has its own locks.
unsafe impl Sync for Cluster {}

impl Cluster {
    /// A client that isn't connected, for the user "client.`user`", or for the default one.
    ///
    /// # Errors
    /// `ENOMEM`, or what the library says of its environment.
    pub fn new(user: Option<&CStr>) -> Result<Self, Errno> {
        let mut raw: rados_t = ptr::null_mut();
        // SAFETY: both pointers are valid; a NULL user is allowed.
        let ret = unsafe { rados_create(&raw mut raw, user.map_or(ptr::null(), CStr::as_ptr)) };
        Errno::check(ret.into())?;
        // INVARIANT: the library has just made it.
        let raw = NonNull::new(raw).ok_or(Errno::ENOMEM)?;
        Ok(Self { raw, shut_out: AtomicBool::new(false) })
    }

    /// Reads a configuration file; without a name, those in the default places.
    ///
    /// # Errors
    /// `ENOENT`, or `EINVAL` if it can't be understood.
    pub fn read_conf(&self, file: Option<&CStr>) -> Result<(), Errno> {
        // SAFETY: the cluster is valid (type invariant); a NULL name is allowed.
        let ret = unsafe { rados_conf_read_file(self.raw.as_ptr(), file.map_or(ptr::null(), CStr::as_ptr)) };
        Errno::check(ret.into()).map(drop)
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// `ENOENT` for a setting that doesn't exist, `EINVAL` for a value that it can't have.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        // SAFETY: the cluster is valid (type invariant), and the library copies the strings.
        let ret = unsafe { rados_conf_set(self.raw.as_ptr(), key.as_ptr(), value.as_ptr()) };
        Errno::check(ret.into()).map(drop)
    }

    /// A setting, also one that only other clients know; `None` if there is no such setting.
    #[must_use]
    pub fn get(&self, key: &CStr) -> Option<CString> {
        /// No setting that is asked for is longer.
        const SIZE: usize = 512;
        let mut value = [0; SIZE];
        let place: *mut c_char = value.as_mut_ptr().cast();
        // SAFETY: the cluster is valid (type invariant), and the place has SIZE bytes.
        let ret = unsafe { rados_conf_get(self.raw.as_ptr(), key.as_ptr(), place, SIZE) };
        Errno::check(ret.into()).ok()?;
        CStr::from_bytes_until_nul(&value).ok().map(CStr::to_owned)
    }

    /// Connects. Blocks until there is a monitor, or until `client_mount_timeout`.
    ///
    /// # Errors
    /// `ETIMEDOUT` if there is none, `EACCES` or `EPERM` if it doesn't let us in, `ENOENT` without a key or an address.
    pub fn connect(&self) -> Result<(), Errno> {
        // SAFETY: the cluster is valid (type invariant).
        let ret = unsafe { rados_connect(self.raw.as_ptr()) };
        Errno::check(ret.into()).map(drop)
    }

    /// The number by which the cluster knows this client.
    #[must_use]
    pub fn instance_id(&self) -> u64 {
        // SAFETY: the cluster is valid (type invariant).
        unsafe { rados_get_instance_id(self.raw.as_ptr()) }
    }

    /// Notes that the cluster has shut this client out, which is final.
    pub fn note_shut_out(&self) {
        self.shut_out.store(true, Ordering::Release);
    }

    /// Whether that was noted.
    #[must_use]
    pub fn is_shut_out(&self) -> bool {
        self.shut_out.load(Ordering::Acquire)
    }

    /// Shuts a client out, by its address: from here on nothing that it has sent, or will send, has an effect. Blocks on the
    /// network.
    ///
    /// # Errors
    /// `EACCES` without the right to do that, `EINVAL` for what is no address.
    pub fn blocklist(&self, address: &CStr) -> Result<(), Errno> {
        // SAFETY: the cluster is valid (type invariant), and the library only reads the string. 0 is the monitors' own duration.
        let ret = unsafe { rados_blocklist_add(self.raw.as_ptr(), address.as_ptr().cast_mut(), 0) };
        Errno::check(ret.into())?;
        // What we do next must not be handled by a server that doesn't know of it yet.
        // SAFETY: as above.
        let ret = unsafe { rados_wait_for_latest_osdmap(self.raw.as_ptr()) };
        Errno::check(ret.into()).map(drop)
    }

    /// The pool of that name. Blocks on a monitor if it isn't known.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn pool(self: &Arc<Self>, name: &CStr) -> Result<PoolHandle, Errno> {
        PoolHandle::open(self, name)
    }

    /// The pool with that number. Blocks on a monitor if it isn't known.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn pool_by_id(self: &Arc<Self>, id: i64) -> Result<PoolHandle, Errno> {
        PoolHandle::open_by_id(self, id)
    }

    /// The client itself, for the other parts of this wrapper.
    pub(super) fn as_raw(&self) -> rados_t {
        self.raw.as_ptr()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more (type invariant).
        unsafe { rados_shutdown(self.raw.as_ptr()) }
    }
}
