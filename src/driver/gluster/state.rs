// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What an open gluster node keeps.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::Arc;

use super::error::Error;
use super::options::Options;
use super::unflushed::Unflushed;
use crate::backend::gfapi::File;
use crate::errno::Errno;

/// An open node. Shared by all requests, on whatever thread; a reopen makes a new one.
#[derive(Debug)]
pub struct Gluster {
    pub(super) file: Arc<File>,
    pub(super) options: Options,
    /// Whether the library can tell data from holes.
    pub(super) seek_data: bool,
    /// Bytes; requests must be multiples of it.
    pub(super) alignment: u32,
    /// What the client may still hold back.
    pub(super) unflushed: Unflushed,
    /// Where the last hole that was found ended, and data began, in bytes; a hint, which may have become wrong.
    pub(super) data_after_hole: AtomicI64,
    /// What the file was last known to occupy, in bytes.
    pub(super) allocated: Arc<Allocated>,
    /// The reason why an fsync failed, 0 while none has.
    failed: AtomicI32,
}

/// The last known size on disk, and whether somebody is asking for it.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    pub(super) bytes: AtomicI64,
    pub(super) asking: AtomicBool,
}

impl Gluster {
    /// A node that has just been opened.
    pub(super) fn new(file: File, options: Options, seek_data: bool, alignment: u32, allocated: i64) -> Self {
        let allocated =
            Arc::new(Allocated { bytes: AtomicI64::new(allocated), asking: AtomicBool::new(false) });
        Self {
            file: Arc::new(file),
            options,
            seek_data,
            alignment,
            unflushed: Unflushed::new(),
            data_after_hole: AtomicI64::new(-1),
            allocated,
            failed: AtomicI32::new(0),
        }
    }

    /// What requests have to be multiples of, in bytes.
    #[must_use]
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Whether a request may begin at `offset`.
    pub(super) fn is_aligned(&self, offset: i64) -> bool {
        offset.checked_rem(self.alignment.into()) == Some(0)
    }

    /// The error of the fsync that failed, if one has.
    pub(super) fn failure(&self) -> Option<Errno> {
        match self.failed.load(Ordering::Acquire) {
            0 => None,
            code => Some(Errno::from_code(code)),
        }
    }

    /// Refuses to go on after a failed fsync.
    pub(super) fn check_usable(&self) -> Result<(), Error> {
        match self.failure() {
            None => Ok(()),
            Some(_) => Err(Error::Failed),
        }
    }

    /// Records that an fsync failed. True for the first one.
    pub(super) fn fail(&self, errno: Errno) -> bool {
        self.failed.compare_exchange(0, errno.code(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
