// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Takes options out of QEMU's dictionaries, and puts some in.

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::NonNull;

use super::qemu::take_string;
use super::unwind;
use crate::errno::Errno;
use crate::options::OptionMap;
use crate::sys::host::{
    qbr_host_create_options_visit, qbr_host_opts_take, qbr_host_opts_take_size, qbr_host_qdict_array_entries,
    qbr_host_qdict_put, qbr_host_qdict_take, BlockdevCreateOptions, QDict, QemuOpts,
};

/// Takes the options named in `keys` out of a dictionary; a name that ends in a dot takes all that begin with it.
///
/// # Safety
/// `dict` is a valid dictionary that nobody else uses during the call.
#[must_use]
pub unsafe fn take_from_qdict(dict: NonNull<QDict>, keys: &[&CStr]) -> OptionMap {
    let mut map = OptionMap::default();
    for key in keys {
        // SAFETY: the caller promises a valid dictionary; `collect` is called with a pointer to `map` during the call.
        unsafe { qbr_host_qdict_take(dict.as_ptr(), key.as_ptr(), Some(collect), (&raw mut map).cast()) }
    }
    map
}

/// Sets options in a dictionary: all of them, or none.
///
/// # Errors
/// `EINVAL` if one of them contains a NUL.
///
/// # Safety
/// As for [`take_from_qdict`].
pub unsafe fn put_into_qdict(dict: NonNull<QDict>, options: OptionMap) -> Result<(), Errno> {
    let pair = |(key, value)| Some((CString::new::<String>(key).ok()?, CString::new::<Vec<u8>>(value).ok()?));
    let pairs: Option<Vec<_>> = options.into_iter().map(pair).collect();
    for (key, value) in pairs.ok_or(Errno::EINVAL)? {
        // SAFETY: the caller promises a valid dictionary; the strings live until the call returns.
        unsafe { qbr_host_qdict_put(dict.as_ptr(), key.as_ptr(), value.as_ptr()) }
    }
    Ok(())
}

/// Flattens a dictionary and counts the elements of the array under `prefix`; `None` if there are gaps.
///
/// # Safety
/// As for [`take_from_qdict`].
#[must_use]
pub unsafe fn array_entries(dict: NonNull<QDict>, prefix: &CStr) -> Option<usize> {
    // SAFETY: the caller promises a valid dictionary.
    usize::try_from(unsafe { qbr_host_qdict_array_entries(dict.as_ptr(), prefix.as_ptr()) }).ok()
}

/// All members of the options of `blockdev-create`.
///
/// # Safety
/// `options` is valid.
#[must_use]
pub unsafe fn from_create_options(options: NonNull<BlockdevCreateOptions>) -> OptionMap {
    let mut map = OptionMap::default();
    // SAFETY: the caller promises valid options; `collect` is called with a pointer to `map` during the call.
    unsafe { qbr_host_create_options_visit(options.as_ptr(), Some(collect), (&raw mut map).cast()) }
    map
}

/// Adds one option to the map behind `opaque`.
unsafe extern "C" fn collect(opaque: *mut c_void, key: *const c_char, value: *const c_char) {
    // An option that is lost in a panic is missed by the parser, which says so.
    drop(unwind::catch(|| {
        // SAFETY: every caller passes a pointer to a live map.
        let map = unsafe { &mut *opaque.cast::<OptionMap>() };
        // SAFETY: the service passes strings that are valid during the call.
        let key = unsafe { CStr::from_ptr(key) };
        // SAFETY: as above.
        let value = unsafe { CStr::from_ptr(value) };
        map.insert(key.to_string_lossy().into_owned(), value.to_bytes().to_vec());
    }));
}

/// The options of `qemu-img create`.
#[derive(Debug)]
pub struct CreateOpts(NonNull<QemuOpts>);

impl CreateOpts {
    /// Wraps what the callback received.
    ///
    /// # Safety
    /// `opts` stays valid as long as the wrapper, and nobody else uses it.
    #[must_use]
    pub unsafe fn from_raw(opts: NonNull<QemuOpts>) -> Self {
        Self(opts)
    }

    /// Takes an option; `None` if it was not given and has no default.
    pub fn take(&mut self, key: &CStr) -> Option<Vec<u8>> {
        // SAFETY: valid by the constructor's contract.
        let value = unsafe { qbr_host_opts_take(self.0.as_ptr(), key.as_ptr()) };
        // SAFETY: the service returns a string of ours, or NULL.
        unsafe { take_string(value) }.map(CString::into_bytes)
    }

    /// Takes an option of type size, in bytes.
    pub fn take_size(&mut self, key: &CStr, fallback: u64) -> u64 {
        // SAFETY: valid by the constructor's contract.
        unsafe { qbr_host_opts_take_size(self.0.as_ptr(), key.as_ptr(), fallback) }
    }
}
