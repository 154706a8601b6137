// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What goes wrong in the replication driver, and the number that each failure becomes.

use super::machine::StageError;
use super::options::OptionsError;
use crate::errno::{Errno, ToErrno};
use crate::host::HostError;

/// A failure, with what its user needs to know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Not in this stage, or not on this side.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The block layer has failed.
    #[error("{0}")]
    Host(HostError),
    /// A secondary can't be started.
    #[error("{0}")]
    Disks(&'static str),
    /// The node may not change its disks.
    #[error("The replication node is read-only or inactive, so its disks can't be changed")]
    NotWritable,
    /// The block layer can't empty a disk.
    #[error("{1}")]
    Empty(Errno, HostError),
    /// A disk that is to be emptied is gone.
    #[error("{0} disk {1} is ejected")]
    Ejected(&'static str, String),
    /// The length can't be changed.
    #[error(
        "a replication node can't be resized: the disks of both sides must keep the same length; \
         stop the replication, resize each disk, and start it anew"
    )]
    Resize,
    /// A plain error number.
    #[error("{0}")]
    Errno(Errno),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl ToErrno for Error {
    fn errno(&self) -> Errno {
        match self {
            Self::Options(error) => error.errno(),
            Self::Stage(_) | Self::Host(_) | Self::Disks(_) => Errno::EINVAL,
            Self::NotWritable => Errno::EACCES,
            Self::Ejected(..) => Errno::ENOMEDIUM,
            Self::Resize => Errno::ENOTSUP,
            Self::Empty(errno, _) | Self::Errno(errno) => *errno,
        }
    }
}
