// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What goes wrong in the quorum driver, and the number that each failure becomes.

use super::options::OptionsError;
use crate::errno::{Errno, ToErrno};
use crate::host::HostError;

/// A failure, with what its user needs to know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A child can't be opened or attached.
    #[error("{0}")]
    Child(HostError),
    /// blkverify is about two children.
    #[error("Cannot add a child to a quorum in blkverify mode")]
    AddToBlkverify,
    /// Children have the same length.
    #[error("Cannot add node '{node}' of {bytes} bytes to a quorum of {wanted} bytes")]
    OtherLength {
        /// The name of the node.
        node: String,
        /// Its length.
        bytes: i64,
        /// The length of the quorum.
        wanted: i64,
    },
    /// There is no name for another child.
    #[error("the quorum has had too many children")]
    TooManyChildren,
    /// Votes could not be won any more.
    #[error("The number of children cannot be lower than the vote threshold {0}")]
    TooFewChildren(usize),
    /// Not a child of this node.
    #[error("the node to remove is not a child of this quorum")]
    NoSuchChild,
    /// Relative names have nothing to start from.
    #[error("Cannot generate a base directory for quorum nodes")]
    NoDirectory,
    /// Not all children could be resized.
    #[error("cannot resize all children to {bytes} bytes: {reason}; {outcome}")]
    Resize {
        /// The new length.
        bytes: i64,
        /// Which child failed, and why.
        reason: String,
        /// What became of the others.
        outcome: String,
        /// What it failed with.
        errno: Errno,
    },
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
            Self::Child(_)
            | Self::AddToBlkverify
            | Self::OtherLength { .. }
            | Self::TooManyChildren
            | Self::TooFewChildren(_)
            | Self::NoSuchChild => Errno::EINVAL,
            Self::NoDirectory => Errno::ENOTSUP,
            Self::Resize { errno, .. } | Self::Errno(errno) => *errno,
        }
    }
}
