// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The host services, wrapped one by one; the only code besides `block_on` that calls them.

use std::ffi::{c_void, CStr, CString};
use std::ptr::{self, NonNull};

use crate::errno::Errno;
use crate::sys::host as raw;
use crate::sys::host::{BDRVReopenState, BlockDriverState, Error, QbrLimits};

/// A message in the form that C takes; inner NULs, which only garbage contains, become question marks.
#[must_use]
pub fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// A node, as an opaque handle.
#[derive(Debug, Clone, Copy)]
pub struct Bs(NonNull<BlockDriverState>);

impl Bs {
    /// Wraps what a callback received.
    ///
    /// # Safety
    /// `bs` stays valid as long as the wrapper is used.
    #[must_use]
    pub unsafe fn from_raw(bs: NonNull<BlockDriverState>) -> Self {
        Self(bs)
    }

    /// The place of the driver's state pointer.
    #[must_use]
    pub fn state(self) -> *mut *mut c_void {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_bs_state(self.0.as_ptr()) }
    }

    /// The name to call the node by.
    #[must_use]
    pub fn name(self) -> String {
        // SAFETY: valid by the constructor's contract.
        let name = unsafe { raw::qbr_host_bs_name(self.0.as_ptr()) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: the service returns a NUL-terminated string that is valid until the next graph change.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Tells the block layer what requests the node takes.
    pub fn set_limits(self, limits: &QbrLimits) {
        // SAFETY: valid by the constructor's contract; the service copies the limits.
        unsafe { raw::qbr_host_bs_set_limits(self.0.as_ptr(), ptr::from_ref(limits)) }
    }

    /// Makes the node read-only if its user allowed that.
    ///
    /// # Errors
    /// The block layer's own, when `auto-read-only` is off.
    pub fn apply_auto_read_only(self, reason: &str) -> Result<(), Errno> {
        let reason = c_text(reason);
        // SAFETY: valid by the constructor's contract; a NULL error pointer is allowed.
        let ret =
            unsafe { raw::qbr_host_apply_auto_read_only(self.0.as_ptr(), reason.as_ptr(), ptr::null_mut()) };
        if ret < 0 {
            return Err(Errno::from_code(ret.saturating_neg()));
        }
        Ok(())
    }
}

/// A reopen in progress, as an opaque handle.
#[derive(Debug, Clone, Copy)]
pub struct Reopen(NonNull<BDRVReopenState>);

impl Reopen {
    /// Wraps what a callback received.
    ///
    /// # Safety
    /// `state` stays valid as long as the wrapper is used.
    #[must_use]
    pub unsafe fn from_raw(state: NonNull<BDRVReopenState>) -> Self {
        Self(state)
    }

    /// The place of the driver's state pointer for this reopen.
    #[must_use]
    pub fn state(self) -> *mut *mut c_void {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_reopen_state(self.0.as_ptr()) }
    }

    /// The node it is about.
    #[must_use]
    pub fn bs(self) -> Option<NonNull<BlockDriverState>> {
        // SAFETY: valid by the constructor's contract.
        NonNull::new(unsafe { raw::qbr_host_reopen_bs(self.0.as_ptr()) })
    }

    /// The flags it asks for.
    #[must_use]
    pub fn flags(self) -> i32 {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_reopen_flags(self.0.as_ptr()) }
    }
}

/// Sets a callback's error. `errp` may be NULL.
///
/// # Safety
/// `errp` is NULL or points to an error pointer that is not set yet.
pub unsafe fn set_error(errp: *mut *mut Error, message: &str, hint: Option<&str>) {
    let message = c_text(message);
    let hint = hint.map(c_text);
    let hint = hint.as_ref().map_or(ptr::null(), |hint| hint.as_ptr());
    // SAFETY: the caller's promise; both strings live until the call returns.
    unsafe { raw::qbr_host_error_set(errp, message.as_ptr(), hint) }
}

/// Prints an error where QEMU prints its errors.
pub fn report_error(message: &str) {
    let message = c_text(message);
    // SAFETY: the string lives until the call returns.
    unsafe { raw::qbr_host_error_report(message.as_ptr()) }
}

/// Prints a warning where QEMU prints its warnings.
pub fn report_warning(message: &str) {
    let message = c_text(message);
    // SAFETY: the string lives until the call returns.
    unsafe { raw::qbr_host_warn_report(message.as_ptr()) }
}
