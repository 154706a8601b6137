// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What an open replication node keeps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::machine::Mode;
use super::options::Options;
use super::status::SharedStatus;
use crate::host::replication::{Blocker, Job, Registration};
use crate::host::{Child, Gate};

/// What a started secondary holds, each from when it was got until it was given back. Only the main loop uses it, except for
/// `secondary`, which requests use after a failed failover, when only close gives it back.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Which disks were read-only before: hidden, secondary.
    pub(super) was_read_only: (bool, bool),
    pub(super) hidden: Option<Child>,
    pub(super) secondary: Option<Child>,
    pub(super) blocker: Option<Blocker>,
    pub(super) backup: Option<Job>,
    pub(super) commit: Option<Job>,
}

/// An open node. Requests share it, on whatever thread; all else happens in the main loop.
#[derive(Debug)]
pub struct Replication {
    pub(super) options: Options,
    /// The filtered disk, which stays for the life of the node.
    pub(super) file: Child,
    registration: Mutex<Option<Registration>>,
    pub(super) status: SharedStatus,
    /// Closed by each change after a failed failover.
    pub(super) splitting: Gate<()>,
    held: Mutex<Held>,
}

impl Replication {
    /// A node that is not started.
    #[must_use]
    pub fn new(options: Options, file: Child) -> Self {
        let status = SharedStatus::new(options.mode());
        let splitting = Gate::new(());
        Self { options, file, registration: Mutex::default(), status, splitting, held: Mutex::default() }
    }

    /// It has a place among the replications of the process, or none any more.
    pub fn set_registration(&self, registration: Option<Registration>) {
        *lock(&self.registration) = registration;
    }

    /// The side.
    #[inline]
    pub(super) fn mode(&self) -> Mode {
        self.options.mode()
    }

    /// What a started secondary holds.
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

/// Locks for a moment. What a panic left behind is as good as before: no lock is held while something is called.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
