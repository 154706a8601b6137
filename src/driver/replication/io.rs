// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reads, writes, write-zeroes and discards, and the length.
//!
//! Runs in coroutines, on any thread.

use super::machine::{Gate, Mode};
use super::state::Replication;
use crate::errno::Errno;
use crate::host::qemu::Bs;
use crate::host::{block_on, Child};
use crate::iov::GuestPart;
use crate::range::ByteRange;

/// Whether the block layer does a change in another way, or goes on well without it, when it is told `ENOTSUP`: nothing is lost
/// then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Yes,
    No,
}

impl Replication {
    /// Reads a range. A primary is only written to.
    ///
    /// # Errors
    /// The disk's; `EIO` on a primary, and on a secondary that was not started.
    #[inline]
    pub fn read(&self, to: GuestPart<'_>, range: ByteRange) -> Result<(), Errno> {
        if self.mode() == Mode::Primary || self.status.gate() == Gate::Closed {
            return Err(Errno::EIO);
        }
        // DIVERGES: requests reach the disks as they are; the C driver makes them of whole sectors, which a primary can't read.
        self.file.read(to, range)
    }

    /// Writes a range.
    ///
    /// # Errors
    /// The disk's on a secondary; `EIO` if the replication does not run. A failure on a primary is remembered instead.
    #[inline]
    pub fn write(&self, from: GuestPart<'_>, range: ByteRange, flags: u32) -> Result<(), Errno> {
        self.change(range, Otherwise::No, move |child, piece, skip| {
            child.write(from.after(skip), piece, flags)
        })
    }

    /// Writes zeroes.
    ///
    /// # Errors
    /// As for [`Replication::write`]; `ENOTSUP` if that was to be quick and can't be.
    // DIVERGES: zeroes are passed on as zeroes; the C driver writes them as data.
    pub fn write_zeroes(&self, range: ByteRange, flags: u32) -> Result<(), Errno> {
        self.change(range, Otherwise::Yes, move |child, piece, _| child.write_zeroes(piece, flags))
    }

    /// Gives back the space of a range.
    ///
    /// # Errors
    /// As for [`Replication::write`]; `ENOTSUP`, which the block layer ignores, where a disk can't do it safely.
    // DIVERGES: discards reach the disks; the C driver drops them. An active disk that can't keep what is behind it from
    // showing refuses them, and the secondary disk's old content is copied before it goes.
    pub fn discard(&self, range: ByteRange) -> Result<(), Errno> {
        self.change(range, Otherwise::Yes, |child, piece, _| child.discard(piece))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disks'. On a primary it is remembered, too: what the secondary has acknowledged may be lost.
    // DIVERGES: a failed flush of a primary is remembered; the C driver only passes the error on, which the quorum ignores.
    pub fn flush(&self, bs: Bs) -> Result<(), Errno> {
        bs.flush_filter().inspect_err(|errno| self.status.step(|now| now.lost_change(*errno)))
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn length(&self) -> Result<i64, Errno> {
        self.file.length()
    }

    /// Changes what a range reads as: all of it, or piece by piece with the place of the piece in the range.
    #[inline]
    fn change(
        &self,
        range: ByteRange,
        otherwise: Otherwise,
        change: impl Fn(Child, ByteRange, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let result = match self.status.gate() {
            Gate::Open => change(self.file, range, 0),
            Gate::Closed => return Err(self.refused()),
            Gate::Split => self.change_pieces(self.file, range, change),
        };
        result.or_else(|errno| self.not_changed(errno, otherwise))
    }

    /// What the guest is told of a change where none is allowed. On a primary it goes on without this one.
    #[cold]
    fn refused(&self) -> Errno {
        self.status.step(|now| now.lost_change(Errno::EIO));
        Errno::EIO
    }

    /// What the guest is told of a change that has failed.
    #[cold]
    fn not_changed(&self, errno: Errno, otherwise: Otherwise) -> Result<(), Errno> {
        let is_told = errno == Errno::ENOTSUP && otherwise == Otherwise::Yes;
        if self.mode() == Mode::Secondary || is_told {
            return Err(errno);
        }
        // The guest goes on; who asks for errors learns that the secondary doesn't follow any more.
        self.status.step(|now| now.lost_change(errno));
        Ok(())
    }

    /// After a failed failover: what neither the active nor the hidden disk has belongs to the secondary disk.
    ///
    /// One change at a time. A change of the active disk may copy what is around it there, and would hide what another one writes to
    /// the secondary disk meanwhile.
    // DIVERGES: in the C driver such changes run beside one another, and what was acknowledged can be gone.
    #[cold]
    fn change_pieces(
        &self,
        file: Child,
        range: ByteRange,
        change: impl Fn(Child, ByteRange, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let secondary = self.held().secondary.ok_or(Errno::EIO)?;
        let _alone = block_on(async |rq| self.splitting.exclusive(rq).await).unwrap_or(Err(Errno::EIO))?;
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
