// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Ceph's wire encoding: little-endian numbers, counted strings and lists, structures with a version.
//!
//! Knows nothing of RBD. What is decoded comes from the cluster and is not trusted: nothing here panics, and no count or
//! length in the input makes us allocate before that many bytes were seen. Source: RBD format document, section 2.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::Encoder;

use crate::errno::{Errno, ToErrno};

/// Why some bytes are not what they should be. Becomes `EIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {field} at byte {at}: {reason}")]
pub struct DecodeError {
    /// The reply or structure that was being decoded.
    pub what: &'static str,
    /// The member of it.
    pub field: &'static str,
    /// Where that member begins, in bytes from the start of the whole input.
    pub at: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The input ends before the member does.
    #[error("{wanted} bytes are wanted, {left} are left")]
    Truncated {
        /// How many bytes the member needs, at least.
        wanted: u64,
        /// How many there are.
        left: usize,
    },
    /// A structure that can't be read with what we know.
    #[error("it needs a reader of version {compat}, this one knows {known}")]
    Version {
        /// What the structure asks for.
        compat: u8,
        /// The newest that the reader knows.
        known: u8,
    },
    /// A value that must not be there.
    #[error("the value {0} is not allowed")]
    Value(u64),
    /// Text that isn't what it should be.
    #[error("{0}")]
    Text(&'static str),
}

impl ToErrno for DecodeError {
    fn errno(&self) -> Errno {
        match self.reason {
            Reason::Truncated { .. } | Reason::Version { .. } | Reason::Value(_) | Reason::Text(_) => {
                Errno::EIO
            }
        }
    }
}

/// A point in time as Ceph writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970, UTC.
    pub seconds: u32,
    /// Nanoseconds beside them.
    pub nanoseconds: u32,
}

#[cfg(test)]
mod tests;
