// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Conversions of what C passes.

use std::ffi::{c_char, CStr};
use std::ptr::NonNull;

use crate::errno::Errno;

/// A pointer that must not be NULL.
pub(super) fn not_null<T>(ptr: *mut T) -> Result<NonNull<T>, Errno> {
    NonNull::new(ptr).ok_or(Errno::EINVAL)
}

/// A string that must not be NULL.
///
/// # Safety
/// `text` is NULL or a C string that is valid for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Result<&'a CStr, Errno> {
    if text.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) })
}
