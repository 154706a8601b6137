// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What an open gluster node keeps.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::Error;
use super::options::Options;
use super::unflushed::Unflushed;
use crate::backend::gfapi::File;
use crate::errno::{Errno, ToErrno};
use crate::host::{qemu, Gate};

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
    /// Who searches is alone here, so that a silent server keeps one thread per node. Where the last hole that was found ended, and
    /// data began, in bytes; a hint, which may have become wrong.
    pub(super) data_after_hole: Gate<i64>,
    /// What the file was last known to occupy, in bytes.
    pub(super) allocated: Arc<Allocated>,
    /// The reason why an fsync failed, or closing the file before a reopen; 0 while none has.
    failed: AtomicI32,
}

/// The last known size on disk, and whether somebody is asking for it.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    pub(super) bytes: AtomicI64,
    asking: Mutex<bool>,
    answered: Condvar,
}

impl Allocated {
    fn asking(&self) -> MutexGuard<'_, bool> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to ask, unless somebody has it.
    pub(super) fn ask(this: &Arc<Self>) -> Option<Asking> {
        let mut asking = this.asking();
        if *asking {
            return None;
        }
        *asking = true;
        Some(Asking(Arc::clone(this)))
    }

    /// Waits until nobody is asking any more.
    fn wait(&self) {
        let asking = self.asking();
        drop(self.answered.wait_while(asking, |asking| *asking).unwrap_or_else(PoisonError::into_inner));
    }
}

/// The right to ask for the size on disk; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Asking(Arc<Allocated>);

impl Asking {
    /// Notes the answer.
    pub(super) fn answer(&self, bytes: i64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        *self.0.asking() = false;
        self.0.answered.notify_all();
    }
}

/// What a node does after a loss, to be added to the report of it.
pub(super) const NO_MORE_REQUESTS: &str = "; the node takes no more requests";

/// Reports that acknowledged writes may be lost.
pub(super) fn report_loss(name: &str, options: &Options, work: &str, errno: Errno, consequence: &str) {
    qemu::report_error(&format!(
        "gluster node '{name}': {work} '{}' failed: {errno}. Data written since the last successful flush may be \
         lost{consequence}",
        options.path.to_string_lossy(),
    ));
}

impl Gluster {
    /// A node that has just been opened.
    pub(super) fn new(file: File, options: Options, seek_data: bool, alignment: u32, allocated: i64) -> Self {
        let allocated = Arc::new(Allocated { bytes: AtomicI64::new(allocated), ..Allocated::default() });
        Self {
            file: Arc::new(file),
            options,
            seek_data,
            alignment,
            unflushed: Unflushed::new(),
            data_after_hole: Gate::new(-1),
            allocated,
            failed: AtomicI32::new(0),
        }
    }

    /// Closes the file, and waits for what the client still had to write. Blocks. Where some of it got lost that is reported.
    pub fn close(self, name: impl FnOnce() -> String) {
        self.end(name, "");
    }

    /// As [`Gluster::close`], for a node whose place `new` has taken: where something got lost that is of no use either, as after a
    /// failed fsync.
    pub fn close_for(self, new: &Self, name: impl FnOnce() -> String) {
        if let Some(errno) = self.end(name, NO_MORE_REQUESTS) {
            new.fail(errno);
        }
    }

    /// Closes the file; the error if something got lost, by now or by a failed fsync before.
    ///
    /// A question for the size on disk may still wait for its answer, and has the file open. Where nothing was written since the
    /// last flush the file is left to it: nothing can get lost, and while a brick is away the answer may take long.
    fn end(self, name: impl FnOnce() -> String, consequence: &str) -> Option<Errno> {
        let failure = self.failure();
        if self.unflushed.span().is_empty() {
            return failure;
        }
        self.allocated.wait();
        // DIVERGES: an error of closing counts, as writes that the client held back failed; the C driver ignores it.
        let closed = Arc::into_inner(self.file).map_or(Ok(()), File::close);
        failure.or_else(|| {
            let errno = closed.err()?.errno();
            report_loss(&name(), &self.options, "closing", errno, consequence);
            Some(errno)
        })
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

    /// The error of what [`Gluster::fail`] recorded, if it did.
    pub(super) fn failure(&self) -> Option<Errno> {
        match self.failed.load(Ordering::Acquire) {
            0 => None,
            code => Some(Errno::from_code(code)),
        }
    }

    /// Refuses to go on after a loss.
    pub(super) fn check_usable(&self) -> Result<(), Error> {
        match self.failure() {
            None => Ok(()),
            Some(_) => Err(Error::Failed),
        }
    }

    /// Records that writing back failed. True for the first time.
    pub(super) fn fail(&self, errno: Errno) -> bool {
        self.failed.compare_exchange(0, errno.code(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
