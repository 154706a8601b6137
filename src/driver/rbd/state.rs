// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What an open rbd node keeps.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::format::encryption::Probe;
use super::image::Image;
use super::options::Options;
use super::share::Connection;
use crate::errno::Errno;
use crate::host::{qemu, spawn_thread, Buffer, Pool};

/// How long closing waits for the cluster. After that the rest is done in the background.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A secret key, which nobody gets to see.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) CString);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// An open node. Shared by all requests, on whatever thread; a reopen makes a new one.
#[derive(Debug)]
pub struct Rbd {
    pub(super) image: Arc<Image>,
    pub(super) options: Options,
    pub(super) connection: Connection,
    /// The secret key, for a new connection when this one was shut out.
    pub(super) key: Option<Key>,
    /// How the image is encrypted, by somebody else.
    pub(super) probe: Option<Probe>,
    pub(super) pool: Pool<Buffer>,
}

impl Rbd {
    /// A node that has just been opened.
    pub(super) fn new(
        (image, probe): (Arc<Image>, Option<Probe>),
        options: Options,
        connection: Connection,
        key: Option<Key>,
    ) -> Self {
        Self { image, options, connection, key, probe, pool: Pool::new() }
    }

    /// The length in bytes.
    #[must_use]
    pub fn length(&self) -> i64 {
        let size = self.image.size();
        self.image.told.store(size, Ordering::Release);
        size
    }

    /// The size of an object in bytes.
    #[must_use]
    pub fn object_size(&self) -> u32 {
        u32::try_from(self.image.identity.layout.object_size()).unwrap_or(u32::MAX)
    }

    /// How the image is encrypted, seen when it was opened.
    #[must_use]
    pub fn encryption(&self) -> Option<Probe> {
        self.probe
    }

    /// Gives the lock back, as before a migration ends: whoever goes on with the image must find it free, even if this process is
    /// killed the moment after. Main loop; blocks for [`CLOSE_TIMEOUT`] at most. With requests in flight, which only exports of
    /// inactive nodes have here, a thread does it when they have ended: QEMU drains the node afterwards, so to wait for them would be
    /// to wait for ever.
    ///
    /// # Errors
    /// `ETIMEDOUT` if a write that nobody waits for any more may still be done, and there is no lock for which the next owner would
    /// have to wait until it is.
    // DIVERGES: a write without an answer must not arrive behind the next owner's. The C driver knows of none.
    pub fn inactivate(&self) -> Result<(), Error> {
        self.image.renounce();
        let (done, released) = mpsc::channel();
        let started =
            self.image.start("qbr-rbd-release", move |image: &Arc<Image>| image.release_at_once(&done));
        // Without an answer in time the thread goes on with it.
        let answer = if started { released.recv_timeout(CLOSE_TIMEOUT) } else { Ok(false) };
        if !matches!(answer, Ok(true) | Err(mpsc::RecvTimeoutError::Timeout)) {
            self.image.resign();
        }
        let has_lock = self.image.locked.load(Ordering::Acquire);
        if has_lock || self.image.snapshot.is_some() || self.image.unanswered.is_empty() {
            return Ok(());
        }
        qemu::report_error(&format!(
            "rbd image '{}' stays active: what was written to it without an answer may still be done",
            self.image.text()
        ));
        Err(Errno::from_code(libc::ETIMEDOUT).into())
    }

    /// Gives the lock back, ends watching, and the connection if nobody else has it. Blocks for [`CLOSE_TIMEOUT`] at most: with the
    /// cluster away the main loop must go on.
    pub fn close(self) {
        let Self { image, options, connection, pool, .. } = self;
        drop(pool);
        let (done, ended) = mpsc::channel::<()>();
        // A thread that can't be had drops what it was to do, here: that would end the watch and the connection in the main loop, which
        // takes as long as the cluster is away. So both are kept for ever then, and the lock with them, until somebody asks for it.
        let kept = ManuallyDrop::new((image, connection));
        let end = move || {
            let (image, connection) = ManuallyDrop::into_inner(kept);
            image.hand_over();
            image.lookout.close();
            drop(image);
            drop(connection);
            drop(done);
        };
        if spawn_thread("qbr-rbd-close", end).is_err() {
            qemu::report_warning(&format!(
                "rbd image '{}' stays connected, as there is no thread to close it",
                options.image.to_string_lossy()
            ));
            return;
        }
        if ended.recv_timeout(CLOSE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            qemu::report_warning(&format!(
                "rbd image '{}' is being closed in the background, as its cluster does not answer",
                options.image.to_string_lossy()
            ));
        }
    }
}
