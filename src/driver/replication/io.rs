// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reads, writes, write-zeroes and discards, and the length.
//!
//! Runs in coroutines, on any thread.

use super::error::Error;
use super::machine::{Gate, Mode};
use super::state::Replication;
use crate::errno::Errno;
use crate::host::Child;
use crate::iov::GuestIov;
use crate::range::ByteRange;

impl Replication {
    /// Reads a range. A primary is only written to.
    ///
    /// # Errors
    /// The disk's; `EIO` on a primary, and on a secondary that was not started.
    pub fn read(&self, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        if self.mode() == Mode::Primary || self.status().gate() == Gate::Closed {
            return Err(Errno::EIO.into());
        }
        // DIVERGES: requests reach the disks as they are; the C driver makes them of whole sectors, which a primary can't read.
        Ok(self.file()?.read(iov, range)?)
    }

    /// Writes a range.
    ///
    /// # Errors
    /// The disk's on a secondary; `EIO` if the replication does not run. A failure on a primary is remembered instead.
    pub fn write(&self, iov: &GuestIov<'_>, range: ByteRange, flags: u32) -> Result<(), Error> {
        if iov.bytes() != range.len() {
            return Err(Errno::EINVAL.into());
        }
        self.change(range, |child, piece, skip| child.write_part(iov, skip, piece, flags))
    }

    /// Writes zeroes.
    ///
    /// # Errors
    /// As for [`Replication::write`]; `ENOTSUP` if that was to be quick and can't be.
    // DIVERGES: zeroes are passed on as zeroes; the C driver writes them as data.
    pub fn write_zeroes(&self, range: ByteRange, flags: u32) -> Result<(), Error> {
        self.change(range, |child, piece, _| child.write_zeroes(piece, flags))
    }

    /// Gives back the space of a range.
    ///
    /// # Errors
    /// As for [`Replication::write`]; `ENOTSUP`, which the block layer ignores, where a disk can't do it safely.
    // DIVERGES: discards reach the disks; the C driver drops them. An active disk that can't keep what is behind it from
    // showing refuses them, and the secondary disk's old content is copied before it goes.
    pub fn discard(&self, range: ByteRange) -> Result<(), Error> {
        self.change(range, |child, piece, _| child.discard(piece))
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn length(&self) -> Result<i64, Errno> {
        self.file()?.length()
    }

    /// Changes what a range reads as: all of it, or piece by piece with the place of the piece in the range.
    fn change(
        &self,
        range: ByteRange,
        change: impl Fn(Child, ByteRange, usize) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        let gate = self.status().gate();
        let file = match gate {
            Gate::Closed => return Err(Errno::EIO.into()),
            Gate::Open | Gate::Split => self.file()?,
        };
        let result = match gate {
            Gate::Split => self.change_pieces(file, range, change),
            Gate::Closed | Gate::Open => change(file, range, 0),
        };
        match result {
            // It can be done in another way, and nothing is lost.
            Err(Errno::ENOTSUP) => Err(Errno::ENOTSUP.into()),
            // The guest goes on; who asks for errors learns that the secondary doesn't follow any more.
            Err(errno) if self.mode() == Mode::Primary => {
                self.latch(errno);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// After a failed failover: what neither the active nor the hidden disk has belongs to the secondary disk.
    fn change_pieces(
        &self,
        file: Child,
        range: ByteRange,
        change: impl Fn(Child, ByteRange, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let secondary = self.held().secondary.ok_or(Errno::EIO)?;
        let mut rest = range;
        while !rest.is_empty() {
            let (is_above, reach) = file.allocated_above(secondary, rest)?;
            if !(1..=rest.bytes()).contains(&reach) {
                return Err(Errno::EIO);
            }
            let skip = rest.offset().saturating_sub(range.offset());
            let piece = ByteRange::new(rest.offset(), reach)?;
            change(
                if is_above { file } else { secondary },
                piece,
                usize::try_from(skip).map_err(|_| Errno::EINVAL)?,
            )?;
            rest = ByteRange::new(piece.end(), rest.bytes().saturating_sub(reach))?;
        }
        Ok(())
    }
}
