// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! A pool with a namespace, and how to read and write there: now or at a snapshot, and for which snapshots to keep what is
//! overwritten.
//!
//! The library takes namespace and snapshots from its handle at each submission, and changing them meanwhile would be a race. So
//! a handle is made for one purpose and never changed afterwards; another one is made for another.

use std::ffi::{c_int, CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::cluster::Cluster;
use crate::errno::Errno;
use crate::sys::rados::{
    rados_ioctx_create, rados_ioctx_create2, rados_ioctx_destroy, rados_ioctx_get_id,
    rados_ioctx_selfmanaged_snap_rollback, rados_ioctx_selfmanaged_snap_set_write_ctx,
    rados_ioctx_set_namespace, rados_ioctx_snap_set_read, rados_ioctx_t, rados_set_pool_full_try,
};

/// A handle.
///
/// # Invariants
/// `raw` is valid until drop; its operations in flight hold their own share of it inside the library.
#[derive(Debug)]
pub struct PoolHandle {
    raw: NonNull<std::ffi::c_void>,
    namespace: CString,
    cluster: Arc<Cluster>,
}

// SAFETY: a rados_ioctx_t may be used on any thread, says its header.
unsafe impl Send for PoolHandle {}
// SAFETY: as above; what would be a race, changing its snapshots, needs `&mut`.
unsafe impl Sync for PoolHandle {}

impl PoolHandle {
    /// The pool of that name.
    pub(super) fn open(cluster: &Arc<Cluster>, name: &CStr) -> Result<Self, Errno> {
        // SAFETY: the cluster is valid, and the library copies the name.
        Self::create(cluster, |raw| unsafe { rados_ioctx_create(cluster.as_raw(), name.as_ptr(), raw) })
    }

    /// The pool with that number.
    pub(super) fn open_by_id(cluster: &Arc<Cluster>, id: i64) -> Result<Self, Errno> {
        // SAFETY: the cluster is valid.
        Self::create(cluster, |raw| unsafe { rados_ioctx_create2(cluster.as_raw(), id, raw) })
    }

    /// A new handle.
    fn create(
        cluster: &Arc<Cluster>,
        create: impl FnOnce(*mut rados_ioctx_t) -> c_int,
    ) -> Result<Self, Errno> {
        let mut raw: rados_ioctx_t = ptr::null_mut();
        Errno::check(create(&raw mut raw).into())?;
        let raw = NonNull::new(raw).ok_or(Errno::ENOMEM)?;
        // INVARIANT: the library has just made it.
        Ok(Self { raw, namespace: CString::default(), cluster: Arc::clone(cluster) })
    }

    /// The same pool, in that namespace; the empty name is the default one.
    ///
    /// # Errors
    /// `ENOENT` if the pool has gone.
    pub fn in_namespace(&self, name: &CStr) -> Result<Self, Errno> {
        let mut handle = Self::open_by_id(&self.cluster, self.id())?;
        // SAFETY: the handle is valid (type invariant) and new, so nothing is submitted with it; the library copies the name.
        unsafe { rados_ioctx_set_namespace(handle.raw.as_ptr(), name.as_ptr()) }
        handle.namespace = name.to_owned();
        Ok(handle)
    }

    /// The same pool and namespace, reading what a snapshot keeps. Nothing can be written there.
    ///
    /// # Errors
    /// `ENOENT` if the pool has gone.
    pub fn at_snapshot(&self, id: u64) -> Result<Self, Errno> {
        let handle = self.in_namespace(&self.namespace)?;
        // SAFETY: the handle is valid (type invariant) and new, so nothing is submitted with it.
        unsafe { rados_ioctx_snap_set_read(handle.raw.as_ptr(), id) }
        Ok(handle)
    }

    /// The same pool and namespace, writing so that those snapshots (the newest first) keep what they have. `seq` is the newest
    /// one that there ever was.
    ///
    /// # Errors
    /// `ENOENT` if the pool has gone, `EINVAL` if the numbers don't descend from `seq`.
    pub fn with_snapshots(&self, seq: u64, ids: &[u64]) -> Result<Self, Errno> {
        let handle = self.in_namespace(&self.namespace)?;
        let count = c_int::try_from(ids.len()).map_err(|_| Errno::EINVAL)?;
        let ids = ids.as_ptr().cast_mut();
        // SAFETY: the handle is valid (type invariant) and new, so nothing is submitted with it; the library copies the numbers.
        let ret = unsafe { rados_ioctx_selfmanaged_snap_set_write_ctx(handle.raw.as_ptr(), seq, ids, count) };
        Errno::check(ret.into())?;
        Ok(handle)
    }

    /// For what must not wait until a full pool has space: it is tried, and what takes no space succeeds.
    #[must_use]
    pub fn also_when_full(self) -> Self {
        // SAFETY: the handle is valid (type invariant), and as it was moved here nothing else is submitted with it now.
        unsafe { rados_set_pool_full_try(self.raw.as_ptr()) }
        self
    }

    /// The number of the pool.
    #[must_use]
    pub fn id(&self) -> i64 {
        // SAFETY: the handle is valid (type invariant).
        unsafe { rados_ioctx_get_id(self.raw.as_ptr()) }
    }

    /// The cluster of the pool.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Gives an object the content it had at a snapshot. Blocks on the network.
    ///
    /// # Errors
    /// The server's.
    pub fn roll_back(&self, object: &CStr, snapshot: u64) -> Result<(), Errno> {
        // SAFETY: the handle is valid (type invariant), and the library copies the name.
        let ret =
            unsafe { rados_ioctx_selfmanaged_snap_rollback(self.raw.as_ptr(), object.as_ptr(), snapshot) };
        Errno::check(ret.into()).map(drop)
    }

    /// The handle itself, for the other parts of this wrapper.
    pub(super) fn as_raw(&self) -> rados_ioctx_t {
        self.raw.as_ptr()
    }
}

impl Drop for PoolHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is valid (type invariant), and no call of ours uses it any more.
        unsafe { rados_ioctx_destroy(self.raw.as_ptr()) }
    }
}
