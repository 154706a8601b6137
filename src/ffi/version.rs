// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The handshake at registration, and the switch that tests inject panics with.

use std::ffi::{c_char, CStr};

use super::guard;
use crate::abi::{HOST_VERSION, QBR_ABI_VERSION};

/// The version of the exported functions that the archive implements: `QBR_ABI_VERSION` when it was built. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn qbr_abi_version() -> u32 {
    QBR_ABI_VERSION
}

/// The version of `adapter/qbr-host.h` that the archive calls: `QBR_HOST_VERSION` when it was built. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn qbr_host_version() -> u32 {
    HOST_VERSION
}

/// For tests: makes the next call of the export named @name panic, once. NULL takes that back.
///
/// No part of QEMU calls this. Any thread, but only while no other export runs.
///
/// # Safety
/// `name` is NULL or a string that is valid for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_test_panic_in(name: *const c_char) {
    // SAFETY: the caller promises a string that is valid for ever.
    let name: Option<&'static CStr> = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    guard::arm_panic(name);
}
