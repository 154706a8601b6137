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

/// A length in bytes, and how to reach it.
#[derive(Debug, Clone, Copy)]
pub struct Truncate {
    /// The length.
    pub length: i64,
    /// Whether the image may not be longer than that.
    pub exact: bool,
    /// What a part that is new gets.
    pub preallocation: Preallocation,
}

impl Gluster {
    /// Sets the length of the image.
    ///
    /// # Errors
    /// The server's; `ENOTSUP` for preallocation when it shrinks; `EINVAL` for a length that requests don't fit; `ENOMEDIUM` after a
    /// failed fsync.
    pub async fn truncate(&self, rq: &Request, truncate: Truncate) -> Result<(), Error> {
        self.check_usable()?;
        // DIVERGES: the event loop goes on meanwhile; the C driver stops it. So it is with every other call that waits for a server
        // while the node is open.
        let (file, alignment) = (Arc::clone(&self.file), self.alignment);
        spawn_blocking(rq, move || {
            let old = file.size()?.length;
            let length = fitting(old, truncate.length, alignment, truncate.exact)?;
            resize(&file, old, length, truncate.preallocation)
        })
        .await?
    }
}

/// The block layer counts lengths in these, rounded up.
const SECTOR: u32 = 512;

/// The next multiple of a power of two.
fn round_up(length: i64, multiple: u32) -> i64 {
    let last = i64::from(multiple.max(1).saturating_sub(1));
    length.saturating_add(last) & !last
}

/// Whether requests that are multiples of `alignment` end where the block layer sees the end of an image of that length.
pub(super) fn is_whole(length: i64, alignment: u32) -> bool {
    let seen = round_up(length, SECTOR);
    seen == round_up(seen, alignment)
}

/// The length to give to an open image for the one that was asked for: its last request must not reach beyond the end.
fn fitting(old: i64, length: i64, alignment: u32, exact: bool) -> Result<i64, Error> {
    // An image may have been opened with such an end; the block layer knows then, and has seen to it.
    let stays = round_up(length, SECTOR) == round_up(old, SECTOR);
    if stays || is_whole(length, alignment) {
        return Ok(length);
    }
    // DIVERGES: an end within a sector of the bricks is refused or rounded up; the C driver sets it, and can't write the last sector.
    if exact {
        return Err(Error::Sectors { length, alignment });
    }
    Ok(round_up(length, alignment))
}

/// Gives the file, which has the length `old`, a new one. If that fails half-way it gets its old one back.
pub(super) fn resize(file: &File, old: i64, length: i64, mode: Preallocation) -> Result<(), Error> {
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
    fn fitting_rounds_up_what_need_not_be_exact() {
        assert_eq!(fitting(8192, 4096 + 512, 4096, false).unwrap(), 8192);
        assert_eq!(fitting(4096, 12289, 4096, false).unwrap(), 16384);
        assert_eq!(fitting(8192, 1, 4096, false).unwrap(), 4096);
    }

    #[test]
    fn fitting_refuses_an_exact_end_within_a_sector_of_the_bricks() {
        for (old, length) in [(8192, 4096 + 512), (4096, 12289), (4608, 5120), (8192, 1)] {
            assert_eq!(
                fitting(old, length, 4096, true).unwrap_err().errno(),
                Errno::EINVAL,
                "{old} {length}"
            );
        }
    }

    #[test]
    fn fitting_keeps_every_other_length() {
        for (old, length, alignment) in [
            (4096, 8192, 4096),
            (8192, 0, 4096),
            // What the block layer takes for 8192.
            (4096, 8191, 4096),
            (4096, 1001, 512),
            (4096, 1001, 1),
            // No other end than before.
            (4608, 4608, 4096),
            (4600, 4608, 4096),
        ] {
            for exact in [false, true] {
                assert_eq!(
                    fitting(old, length, alignment, exact).unwrap(),
                    length,
                    "{old} {length} {alignment}"
                );
            }
        }
    }

    #[test]
    fn parse_of_metadata_or_anything_else_is_einval() {
        for mode in ["metadata", "", "Full"] {
            assert_eq!(Preallocation::parse(mode.as_bytes()).unwrap_err().errno(), Errno::EINVAL, "{mode}");
        }
    }
}
