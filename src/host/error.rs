// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! QEMU's own errors on their way through Rust, and ours on their way to QEMU.

use std::ffi::CStr;
use std::fmt;
use std::ptr::{self, NonNull};

use super::qemu::c_text;
use crate::sys::host as raw;
use crate::sys::host::Error;

/// An error that a host service has set; nothing if it failed without one.
pub struct HostError(Option<NonNull<Error>>);

// SAFETY: an error is plain memory that only its owner touches.
unsafe impl Send for HostError {}
// SAFETY: as above.
unsafe impl Sync for HostError {}

impl HostError {
    /// Takes what a service has put where its `errp` pointed to.
    ///
    /// # Safety
    /// `error` is NULL or the caller's own.
    #[must_use]
    pub unsafe fn from_raw(error: *mut Error) -> Self {
        Self(NonNull::new(error))
    }

    /// A failure about which nothing was said.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether something was said.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the error to a caller. False if there is none to give.
    ///
    /// # Safety
    /// `errp` is NULL or points to an error pointer that is not set yet.
    pub unsafe fn propagate(mut self, errp: *mut *mut Error) -> bool {
        let Some(error) = self.0.take() else { return false };
        // SAFETY: the caller's promise; the error is ours to give.
        unsafe { raw::qbr_host_error_propagate(errp, error.as_ptr()) }
        true
    }
}

impl Drop for HostError {
    fn drop(&mut self) {
        if let Some(error) = self.0.take() {
            // SAFETY: the error is ours, and not used again.
            unsafe { raw::qbr_host_error_free(error.as_ptr()) }
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the error is ours and valid.
        let text = self.0.map_or(ptr::null(), |error| unsafe { raw::qbr_host_error_message(error.as_ptr()) });
        if text.is_null() {
            return f.write_str("no reason given");
        }
        // SAFETY: the text is valid as long as the error.
        f.write_str(&unsafe { CStr::from_ptr(text) }.to_string_lossy())
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostError({self})")
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
