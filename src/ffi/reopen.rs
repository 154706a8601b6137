// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The callbacks of a reopen, for drivers that open the node anew and put that in the old one's place. Main loop; the node is drained.

use std::ffi::{c_int, CStr};
use std::ptr::{self, NonNull};

use super::arg;
use super::guard::{self, Explain};
use crate::errno::{Errno, ToErrno};
use crate::host::qemu::{Bs, Reopen};
use crate::sys::host::{BDRVReopenState, BlockDriverState, Error};

/// `.bdrv_reopen_prepare`: has `open` make a new state from the old one and the flags of the reopen. 0, or -errno with @errp set and
/// nothing to undo.
///
/// # Safety
/// Pointers as the block layer passes them, for a node whose state is a `T`.
pub(super) unsafe fn prepare<T, E: ToErrno + Explain + From<Errno>>(
    export: &'static CStr,
    state: *mut BDRVReopenState,
    errp: *mut *mut Error,
    open: impl FnOnce(&T, c_int) -> Result<T, E>,
) -> c_int {
    // SAFETY: the caller's promise.
    let node = unsafe { node_of(state) };
    let body = || {
        // SAFETY: the caller's promise.
        let reopen = unsafe { Reopen::from_raw(arg::not_null(state)?) };
        let bs = reopen.bs().ok_or(Errno::EINVAL)?;
        // SAFETY: the node of a reopen is open, and drained.
        let old = unsafe { guard::state::<T>(bs.as_ptr()) }?;
        let new = open(old, reopen.flags())?;
        // SAFETY: the place is this reopen's own, and NULL before prepare.
        unsafe { guard::store(reopen.state(), new) };
        Ok::<_, E>(0)
    };
    // SAFETY: the caller's promise.
    unsafe { guard::call_errp::<T, _>(export, node, errp, body) }
}

/// `.bdrv_reopen_commit`: what prepare has made is the node's state from here on; `close` gets the old one, and the new one.
///
/// # Safety
/// As for [`prepare`].
pub(super) unsafe fn commit<T>(
    export: &'static CStr,
    state: *mut BDRVReopenState,
    close: impl FnOnce(Bs, T, &T),
) {
    let body = || {
        let Some(state) = NonNull::new(state) else { return };
        // SAFETY: the caller's promise.
        let reopen = unsafe { Reopen::from_raw(state) };
        let Some(bs) = reopen.bs() else { return };
        // SAFETY: its node is valid.
        let bs = unsafe { Bs::from_raw(bs) };
        // SAFETY: prepare stored a state of this type, or nothing.
        let Some(new) = (unsafe { guard::take::<T>(reopen.state()) }) else { return };
        // SAFETY: the node is drained, so no request uses the old state.
        let old = unsafe { guard::take::<T>(bs.state()) };
        // SAFETY: the place is the node's own, and empty since the line above.
        unsafe { guard::put(bs.state(), new) };
        // SAFETY: its state is the new one.
        let new = unsafe { guard::state::<T>(bs.as_raw()) };
        if let (Some(old), Ok(new)) = (old, new) {
            close(bs, old.into_state(), new);
        }
    };
    // SAFETY: the caller's promise.
    let node = unsafe { node_of(state) };
    // SAFETY: the caller's promise.
    unsafe { guard::call::<T>(export, node, body) }
}

/// `.bdrv_reopen_abort`: closes what prepare has made.
///
/// # Safety
/// As for [`prepare`].
pub(super) unsafe fn abort<T>(export: &'static CStr, state: *mut BDRVReopenState, close: impl FnOnce(T)) {
    let body = || {
        let Some(state) = NonNull::new(state) else { return };
        // SAFETY: the caller's promise.
        let reopen = unsafe { Reopen::from_raw(state) };
        // SAFETY: prepare stored a state of this type, or nothing; no request has used it.
        if let Some(new) = unsafe { guard::take::<T>(reopen.state()) } {
            close(new.into_state());
        }
    };
    // SAFETY: the caller's promise.
    let node = unsafe { node_of(state) };
    // SAFETY: the caller's promise.
    unsafe { guard::call::<T>(export, node, body) }
}

/// The node that a reopen is about; NULL if there is none.
///
/// # Safety
/// `state` is NULL or valid.
unsafe fn node_of(state: *mut BDRVReopenState) -> *mut BlockDriverState {
    let Some(state) = NonNull::new(state) else { return ptr::null_mut() };
    // SAFETY: the caller's promise.
    unsafe { Reopen::from_raw(state) }.bs().map_or(ptr::null_mut(), NonNull::as_ptr)
}
