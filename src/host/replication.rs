// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the replication driver needs besides children: QEMU's replication core, jobs, and the disks of a secondary.

use std::ptr::{self, NonNull};

use super::child::Child;
use super::error::HostError;
use super::qemu::{c_text, Bs};
use crate::errno::Errno;
use crate::sys::host as raw;
use crate::sys::host::{BlockJob, QbrBlocker, ReplicationState};

pub use crate::sys::host::QbrDisks as Disks;

/// A node's place among the replications of the process; given up when it is dropped. Main loop only.
#[derive(Debug)]
pub struct Registration(NonNull<ReplicationState>);

// SAFETY: it is only handed back to QEMU, by the main loop, which is where a node is opened and closed.
unsafe impl Send for Registration {}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: the core gave it to us, and it is not used again.
        unsafe { raw::qbr_host_replication_remove(self.0.as_ptr()) }
    }
}

/// A running job, as an opaque handle; valid until its end was told. Main loop only.
#[derive(Debug, Clone, Copy)]
pub struct Job(NonNull<BlockJob>);

// SAFETY: it is only handed back to QEMU, by the main loop, which is where everything about jobs happens.
unsafe impl Send for Job {}

impl Job {
    /// Ends the job and waits until it has told so, which is within this call; by force without completing what it could.
    pub fn cancel(self, bs: Bs, force: bool) {
        // SAFETY: the job's end was not told yet, so it is valid.
        unsafe { raw::qbr_host_job_cancel(bs.as_raw(), self.0.as_ptr(), force) }
    }

    /// Makes a checkpoint of a backup.
    ///
    /// # Errors
    /// The block layer's.
    pub fn checkpoint(self) -> Result<(), HostError> {
        done(|errp| {
            // SAFETY: the job's end was not told yet, so it is valid.
            unsafe { raw::qbr_host_backup_checkpoint(self.0.as_ptr(), errp) }
        })
    }
}

/// Operations on a node that are blocked, until they are unblocked. Main loop only.
#[derive(Debug)]
pub struct Blocker(NonNull<QbrBlocker>);

// SAFETY: it is only handed back to the host, by the main loop.
unsafe impl Send for Blocker {}

impl Blocker {
    /// Ends it.
    pub fn unblock(self) {
        // SAFETY: the service gave it to us, and it is not used again.
        unsafe { raw::qbr_host_top_unblock(self.0.as_ptr()) }
    }
}

/// Calls a service that returns at least 0, or sets an error.
fn done(service: impl FnOnce(*mut *mut raw::Error) -> i32) -> Result<(), HostError> {
    let mut error = ptr::null_mut();
    let ret = service(&raw mut error);
    // SAFETY: the error is ours, if there is one.
    let error = unsafe { HostError::from_raw(error) };
    if ret < 0 {
        return Err(error);
    }
    Ok(())
}

/// Calls a service that starts a job, or sets an error.
fn started(service: impl FnOnce(*mut *mut raw::Error) -> *mut BlockJob) -> Result<Job, HostError> {
    let mut error = ptr::null_mut();
    let job = service(&raw mut error);
    // SAFETY: the error is ours, if there is one.
    let error = unsafe { HostError::from_raw(error) };
    NonNull::new(job).map(Job).ok_or(error)
}

/// What a replication node does in the main loop, outside of coroutines.
impl Bs {
    /// Takes a place among the replications of the process.
    #[must_use]
    pub fn register_replication(self) -> Option<Registration> {
        // SAFETY: valid by the constructor's contract.
        NonNull::new(unsafe { raw::qbr_host_replication_new(self.as_raw()) }).map(Registration)
    }

    /// Whether it is open for writing, and active.
    #[must_use]
    pub fn is_writable(self) -> bool {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_bs_is_writable(self.as_raw()) }
    }

    /// Looks at the disks of a secondary.
    #[must_use]
    pub fn examine_disks(self) -> Disks {
        let mut disks = Disks::default();
        // SAFETY: valid by the constructor's contract; the place is a local variable.
        unsafe { raw::qbr_host_disks_examine(self.as_raw(), &raw mut disks) }
        disks
    }

    /// Makes some of the disks behind the active one writable, or read-only.
    ///
    /// # Errors
    /// The block layer's; nothing is changed then.
    pub fn reopen_disks(self, hidden: bool, secondary: bool, writable: bool) -> Result<(), HostError> {
        if !hidden && !secondary {
            return Ok(());
        }
        done(|errp| {
            // SAFETY: valid by the constructor's contract.
            unsafe { raw::qbr_host_disks_reopen(self.as_raw(), hidden, secondary, writable, errp) }
        })
    }

    /// Attaches the hidden and the secondary disk.
    ///
    /// # Errors
    /// The block layer's; none is attached then.
    pub fn attach_disks(self) -> Result<(Child, Child), HostError> {
        let (mut hidden, mut secondary) = (ptr::null_mut(), ptr::null_mut());
        done(|errp| {
            // SAFETY: valid by the constructor's contract; the places are local variables.
            unsafe { raw::qbr_host_disks_attach(self.as_raw(), &raw mut hidden, &raw mut secondary, errp) }
        })?;
        let (Some(hidden), Some(secondary)) = (NonNull::new(hidden), NonNull::new(secondary)) else {
            return Err(HostError::none());
        };
        // SAFETY: the service has attached it.
        let hidden = unsafe { Child::from_raw(hidden) };
        // SAFETY: as above.
        let secondary = unsafe { Child::from_raw(secondary) };
        Ok((hidden, secondary))
    }

    /// Whether the hidden disk that was attached is still the one behind the active disk.
    #[must_use]
    pub fn is_behind(self, hidden: Child) -> bool {
        // SAFETY: valid by the constructors' contracts.
        unsafe { raw::qbr_host_disk_is_behind(self.as_raw(), hidden.as_raw()) }
    }

    /// Makes what was written to the children of a filter durable. In a coroutine, which may sleep.
    ///
    /// # Errors
    /// The first child's that fails; `ENOMEDIUM` if something below it has lost its image.
    pub fn flush_filter(self) -> Result<(), Errno> {
        // SAFETY: valid by the constructor's contract.
        let ret = unsafe { raw::qbr_host_filter_flush(self.as_raw()) };
        Errno::check(i64::from(ret)).map(drop)
    }

    /// Detaches disks that [`Bs::attach_disks`] attached, and that no request uses any more.
    pub fn detach_disks(self, disks: &[Child]) {
        // SAFETY: requests use them only after a failed failover, and then they stay until close, when there are no requests; the
        // caller holds no lock of the graph.
        unsafe { self.close_children(disks) }
    }

    /// Blocks operations on the node that `top_id` names; `None` if that isn't a root node above this one.
    #[must_use]
    pub fn block_top(self, top_id: &str) -> Option<Blocker> {
        let top_id = c_text(top_id);
        // SAFETY: valid by the constructor's contract; the name lives until the call returns.
        NonNull::new(unsafe { raw::qbr_host_top_block(self.as_raw(), top_id.as_ptr()) }).map(Blocker)
    }

    /// Starts to copy what is overwritten on `secondary` to `hidden`.
    ///
    /// # Errors
    /// The block layer's.
    pub fn start_backup(self, secondary: Child, hidden: Child) -> Result<Job, HostError> {
        started(|errp| {
            // SAFETY: valid by the constructors' contracts.
            unsafe { raw::qbr_host_backup_start(self.as_raw(), secondary.as_raw(), hidden.as_raw(), errp) }
        })
    }

    /// Starts to move what is in `active` and behind it to `secondary`.
    ///
    /// # Errors
    /// The block layer's.
    pub fn start_commit(self, active: Child, secondary: Child) -> Result<Job, HostError> {
        started(|errp| {
            // SAFETY: valid by the constructors' contracts.
            unsafe { raw::qbr_host_commit_start(self.as_raw(), active.as_raw(), secondary.as_raw(), errp) }
        })
    }
}

impl Child {
    /// Makes it empty, so that all comes from what backs it. Main loop.
    ///
    /// # Errors
    /// The block layer's, as a number and in words; `ENOMEDIUM` without words if there is no medium.
    pub fn make_empty(self) -> Result<(), (Errno, HostError)> {
        let mut ret = 0;
        let result = done(|errp| {
            // SAFETY: valid by the constructor's contract.
            ret = unsafe { raw::qbr_host_child_make_empty(self.as_raw(), errp) };
            ret
        });
        result.map_err(|error| (Errno::from_code(ret.saturating_neg()), error))
    }
}
