// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What drivers whose nodes are images in a store tell QEMU about them, and the secrets that open the store.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use super::error::HostError;
use super::qemu::take_string;
use crate::errno::Errno;
use crate::sys::host as raw;
use crate::sys::host::{BlockDriverInfo, ImageInfoSpecific, QEMUSnapshotInfo};

/// What the secret object named `id` holds, in base64.
///
/// # Errors
/// QEMU's own, if there is no such object.
pub fn secret_base64(id: &CStr) -> Result<CString, HostError> {
    let mut error = ptr::null_mut();
    // SAFETY: the string lives until the call returns.
    let text = unsafe { raw::qbr_host_secret_base64(id.as_ptr(), &raw mut error) };
    // SAFETY: the error is ours, if there is one.
    let error = unsafe { HostError::from_raw(error) };
    // SAFETY: the service returns a string of ours, or NULL.
    unsafe { take_string(text) }.ok_or(error)
}

/// Tells how large the pieces are in which an image is stored.
///
/// # Safety
/// `info` is valid, and nobody else uses it during the call.
pub unsafe fn set_cluster_size(info: NonNull<BlockDriverInfo>, bytes: u32) {
    // SAFETY: the caller's promise.
    unsafe { raw::qbr_host_info_set_cluster_size(info.as_ptr(), bytes) }
}

/// How an rbd image is encrypted, in the words that QEMU has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RbdEncryption {
    /// LUKS, version 1.
    Luks,
    /// LUKS, version 2.
    Luks2,
}

/// What is to be said about an rbd image, for the caller of the driver to free.
#[must_use]
pub fn rbd_info(encryption: Option<RbdEncryption>) -> *mut ImageInfoSpecific {
    let encryption = match encryption {
        None => raw::QBR_RBD_PLAIN,
        Some(RbdEncryption::Luks) => raw::QBR_RBD_LUKS,
        Some(RbdEncryption::Luks2) => raw::QBR_RBD_LUKS2,
    };
    // SAFETY: the service takes every one of these values.
    unsafe { raw::qbr_host_rbd_info(encryption) }
}

/// The name and the id of a snapshot that is to be created.
///
/// # Safety
/// `info` stays valid and as it is for `'a`.
#[must_use]
pub unsafe fn snapshot_name_and_id<'a>(info: NonNull<QEMUSnapshotInfo>) -> (&'a CStr, &'a CStr) {
    // SAFETY: the caller's promise.
    let name = unsafe { raw::qbr_host_snapshot_name(info.as_ptr()) };
    // SAFETY: as above.
    let id = unsafe { raw::qbr_host_snapshot_id(info.as_ptr()) };
    // SAFETY: the service returns a string that is valid as long as what it was asked about.
    let name = unsafe { CStr::from_ptr(name) };
    // SAFETY: as above.
    (name, unsafe { CStr::from_ptr(id) })
}

/// A table of snapshots, for the caller of the driver to free: their names and the size of the image in each. NULL for none.
///
/// # Errors
/// `ENOMEM`.
pub fn snapshot_table(snapshots: &[(&CStr, u64)]) -> Result<*mut QEMUSnapshotInfo, Errno> {
    if snapshots.is_empty() {
        return Ok(ptr::null_mut());
    }
    // SAFETY: any number may be asked for.
    let table = unsafe { raw::qbr_host_snapshots_new(snapshots.len()) };
    if table.is_null() {
        return Err(Errno::ENOMEM);
    }
    for (index, (name, size)) in snapshots.iter().enumerate() {
        // SAFETY: the table has as many entries as the list; the name lives until the call returns.
        unsafe { raw::qbr_host_snapshots_set(table, index, name.as_ptr(), *size) }
    }
    Ok(table)
}
