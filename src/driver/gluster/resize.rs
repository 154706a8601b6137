// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changing the length of a file, with and without preallocation. Everything here blocks.

use std::sync::Arc;

use super::error::Error;
use super::state::Gluster;
use crate::backend::gfapi::{self, File};
use crate::host::{spawn_blocking, Request};
use crate::range::ByteRange;

/// How the new part of a file that grows gets its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preallocation {
    /// When it is written.
    Off,
    /// It is reserved.
    Falloc,
    /// Zeroes are written to it.
    Full,
}

impl Preallocation {
    /// Reads the spelling of `-o preallocation=` and of `PreallocMode`.
    ///
    /// # Errors
    /// `EINVAL` for a mode that gluster doesn't have, `metadata` among them.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        match text {
            b"off" => Ok(Self::Off),
            b"falloc" => Ok(Self::Falloc),
            b"full" => Ok(Self::Full),
            other => Err(Error::Preallocation(String::from_utf8_lossy(other).into_owned())),
        }
    }
}

/// Zeroes are written in pieces of this many bytes, so that no single call runs into a server's time-out.
const ZERO_PIECE: i64 = 64 << 20;

impl Gluster {
    /// Sets the length of the image in bytes.
    ///
    /// # Errors
    /// The server's; `ENOTSUP` for preallocation when it shrinks; `ENOMEDIUM` after a failed fsync.
    pub async fn truncate(&self, rq: &Request, length: i64, mode: Preallocation) -> Result<(), Error> {
        self.check_usable()?;
        // DIVERGES: the event loop goes on meanwhile; the C driver stops it. So it is with every other call that waits for a server
        // while the node is open.
        let file = Arc::clone(&self.file);
        spawn_blocking(rq, move || resize(&file, length, mode)).await?
    }
}

/// Gives the file its new length. If that fails half-way it gets its old one back.
pub(super) fn resize(file: &File, length: i64, mode: Preallocation) -> Result<(), Error> {
    let old = file.size()?.length;
    if length == old {
        return Ok(());
    }
    if length < old {
        if mode != Preallocation::Off {
            return Err(Error::PreallocationShrink);
        }
        return file.truncate(length).map_err(|source| failed("shrink the image", length, source));
    }
    let new = ByteRange::new(old, length.saturating_sub(old)).map_err(|_| Error::Size(length.into()))?;
    let grown = match mode {
        Preallocation::Off => {
            file.truncate(length).map_err(|source| failed("grow the image", length, source))
        }
        Preallocation::Falloc => {
            file.allocate(new).map_err(|source| failed("preallocate the image", length, source))
        }
        Preallocation::Full => file
            .truncate(length)
            .and_then(|()| zero(file, new))
            .map_err(|source| failed("preallocate the image", length, source)),
    };
    if grown.is_err() {
        // DIVERGES: an image that can't grow keeps its length; the C driver leaves it at the new one.
        // Nobody was told of the new length yet. If this fails too, the first error is the one that matters.
        drop(file.truncate(old));
    }
    grown
}

/// Writes zeroes to a range, piece by piece.
fn zero(file: &File, range: ByteRange) -> Result<(), gfapi::Error> {
    let mut rest = range;
    while !rest.is_empty() {
        let piece = rest.truncate(ZERO_PIECE);
        file.zero(piece)?;
        rest = rest.advance(piece.bytes());
    }
    Ok(())
}

/// The error of a step.
fn failed(what: &'static str, length: i64, source: gfapi::Error) -> Error {
    Error::Resize { what, length, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{Errno, ToErrno};

    #[test]
    fn parse_knows_the_modes_of_the_c_driver() {
        assert_eq!(Preallocation::parse(b"off").unwrap(), Preallocation::Off);
        assert_eq!(Preallocation::parse(b"falloc").unwrap(), Preallocation::Falloc);
        assert_eq!(Preallocation::parse(b"full").unwrap(), Preallocation::Full);
    }

    #[test]
    fn parse_of_metadata_or_anything_else_is_einval() {
        for mode in ["metadata", "", "Full"] {
            assert_eq!(Preallocation::parse(mode.as_bytes()).unwrap_err().errno(), Errno::EINVAL, "{mode}");
        }
    }
}
