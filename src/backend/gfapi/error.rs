// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a libgfapi call fails with.

use crate::errno::{Errno, ToErrno};

/// A failed call: its name in `glfs.h` and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {errno}")]
pub struct Error {
    /// The function that failed.
    pub op: &'static str,
    /// Why.
    pub errno: Errno,
}

impl Error {
    /// The error of the call that has just failed on this thread; must come directly after it.
    pub(super) fn last(op: &'static str) -> Self {
        let errno = Errno::last();
        Self { op, errno }
    }

    /// Checks a result that is negative on failure, with the reason in `errno`; must come directly after the call.
    pub(super) fn check(op: &'static str, ret: i64) -> Result<i64, Self> {
        if ret < 0 {
            return Err(Self::last(op));
        }
        Ok(ret)
    }
}

impl ToErrno for Error {
    fn errno(&self) -> Errno {
        self.errno
    }
}
