// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What goes wrong in the gluster driver, and the number that each failure becomes.

use super::options::OptionsError;
use crate::backend::gfapi;
use crate::errno::{Errno, ToErrno};

/// A failure, with what its user needs to know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No connection to the volume.
    #[error("cannot connect to gluster volume '{volume}' for image '{path}': {}", .source.errno)]
    Connect {
        /// The volume.
        volume: String,
        /// The image.
        path: String,
        /// Which servers were asked.
        hint: String,
        /// libgfapi's answer.
        source: gfapi::Error,
    },
    /// The image can't be opened.
    #[error("cannot open image '{path}' on gluster volume '{volume}': {}", .source.errno)]
    Open {
        /// The volume.
        volume: String,
        /// The image.
        path: String,
        /// libgfapi's answer.
        source: gfapi::Error,
    },
    /// The image can't be created.
    #[error("cannot create image '{path}' on gluster volume '{volume}': {}", .source.errno)]
    Create {
        /// The volume.
        volume: String,
        /// The image.
        path: String,
        /// libgfapi's answer.
        source: gfapi::Error,
    },
    /// A length that no file can have.
    #[error("the size {0} is not allowed")]
    Size(i128),
    /// A way of preallocation that protocol drivers don't have.
    #[error("preallocation mode '{0}' is not supported by gluster")]
    Preallocation(String),
    /// Preallocation when an image shrinks.
    #[error("preallocation can't be used to shrink an image")]
    PreallocationShrink,
    /// The length can't be changed.
    #[error("cannot {what} to {length} bytes: {}", .source.errno)]
    Resize {
        /// What was tried.
        what: &'static str,
        /// The new length.
        length: i64,
        /// libgfapi's answer.
        source: gfapi::Error,
    },
    /// A length that the requests of a node don't fit which is open past the page caches, or is to be.
    #[error(
        "a length of {length} bytes does not go with cache.direct=on while the image is open: it is no multiple of \
         {alignment}, the sector size of the bricks"
    )]
    Sectors {
        /// The length.
        length: i64,
        /// What requests would have to be multiples of.
        alignment: u32,
    },
    /// An fsync failed before: what was acknowledged may be lost, and the node is of no use any more.
    #[error("the node is unusable because writing back its data failed")]
    Failed,
    /// Anything else that a library call answered.
    #[error(transparent)]
    Gfapi(#[from] gfapi::Error),
    /// A plain error number.
    #[error("{0}")]
    Errno(Errno),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Error {
    /// What to tell the user besides the message.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Options(_) => Some(super::options::USAGE),
            Self::Connect { hint, .. } => Some(hint),
            _ => None,
        }
    }
}

impl ToErrno for Error {
    fn errno(&self) -> Errno {
        match self {
            Self::Options(error) => error.errno(),
            Self::Connect { source, .. }
            | Self::Open { source, .. }
            | Self::Create { source, .. }
            | Self::Resize { source, .. }
            | Self::Gfapi(source) => source.errno(),
            Self::Size(_) => Errno::EFBIG,
            Self::Preallocation(_) | Self::Sectors { .. } => Errno::EINVAL,
            Self::PreallocationShrink => Errno::ENOTSUP,
            Self::Failed => Errno::ENOMEDIUM,
            Self::Errno(errno) => *errno,
        }
    }
}
