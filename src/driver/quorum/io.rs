// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Writes, write-zeroes, discards and flushes: to all children at the same time, and a vote on the result.
//!
//! Runs in coroutines, on any thread.

use super::error::Error;
use super::options::ReadPattern;
use super::state::Quorum;
use super::vote;
use crate::abi::{QBR_REQ_MAY_UNMAP, QBR_REQ_NO_FALLBACK};
use crate::errno::Errno;
use crate::host::qemu::{Bs, QuorumEvent, QuorumOp};
use crate::host::{Child, Lanes, Op, Request};
use crate::iov::GuestIov;
use crate::range::ByteRange;

/// Sectors in events are 512 bytes.
const SECTOR: i64 = 512;

/// Discards are cut at multiples of this many bytes, which those of clusters are too: so children refuse no more than its ends.
const PIECE: i64 = 16 << 20;

/// What events say about a request for a range: the sectors that it touches.
pub(super) fn event_of(op: QuorumOp, range: ByteRange) -> QuorumEvent {
    let sector = range.offset().div_euclid(SECTOR);
    let last = range.end().div_euclid(SECTOR);
    let part = i64::from(range.end().rem_euclid(SECTOR) > 0);
    QuorumEvent { op, sector, sectors: last.saturating_add(part).saturating_sub(sector) }
}

impl Quorum {
    /// Writes a range.
    ///
    /// # Errors
    /// What most of the failed children answered, if fewer than the threshold succeeded.
    pub async fn write(
        &self,
        rq: &Request,
        bs: Bs,
        iov: &GuestIov<'_>,
        range: ByteRange,
        flags: u32,
    ) -> Result<(), Error> {
        range.check_memory(iov.bytes())?;
        self.change(rq, bs, Op::Write(iov, flags), range).await
    }

    /// Writes zeroes.
    ///
    /// # Errors
    /// As for [`Quorum::write`]; `ENOTSUP` if they are to be quick and no child can do that: the caller writes them then.
    // DIVERGES: a child that has no quick zeroes writes slow ones if others have written them; in the C driver it has failed, and
    // keeps what it had if enough others have not.
    pub async fn write_zeroes(
        &self,
        rq: &Request,
        bs: Bs,
        range: ByteRange,
        flags: u32,
    ) -> Result<(), Error> {
        if flags & QBR_REQ_NO_FALLBACK == 0 {
            return self.change(rq, bs, Op::WriteZeroes(flags), range).await;
        }
        let _write = self.begin_write(rq, range).await?;
        self.zero_quickly(rq, bs, range, flags, || false).await
    }

    /// Gives back the space of a range.
    ///
    /// # Errors
    /// As for [`Quorum::write`]; `ENOTSUP`, which the block layer ignores, where children could not be kept alike.
    // DIVERGES: discards reach the children; the C driver drops them.
    pub async fn discard(&self, rq: &Request, bs: Bs, range: ByteRange) -> Result<(), Error> {
        if self.options.pattern == ReadPattern::Fifo {
            return self.change(rq, bs, Op::Discard, range).await;
        }
        // What a discarded range reads as is each child's own affair, and a vote on it could not be won. Zeroes are the same
        // everywhere, and give the space back as well; but only where they do, as elsewhere they would take space.
        let quick = QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK;
        let children = self.children.get();
        if children.flags().zero & quick != quick || !children.list().iter().all(|child| child.unmaps()) {
            return Err(Errno::ENOTSUP.into());
        }
        // An end that a child has to cut off is refused after the rest was done, by each child after another rest. The end of the
        // image is none.
        let inner = range.shrink_to(children.zero_alignment().into());
        let end = if range.end() >= bs.known_length() { range.end() } else { inner.end() };
        let mut rest = ByteRange::new(inner.offset(), end.saturating_sub(inner.offset()))?;
        if rest.is_empty() && !range.is_empty() {
            return Err(Errno::ENOTSUP.into());
        }
        let _write = self.begin_write(rq, rest).await?;
        while !rest.is_empty() {
            if !self.allowance.is_left() {
                return Err(Errno::ENOTSUP.into());
            }
            let piece = rest.truncate(PIECE.saturating_sub(rest.offset().rem_euclid(PIECE)));
            self.zero_quickly(rq, bs, piece, quick, || {
                self.allowance.spend(piece);
                true
            })
            .await?;
            rest = rest.advance(piece.bytes());
        }
        Ok(())
    }

    /// Has all children write zeroes: quickly, as `flags` say, or in any way where others have done it so. If all refuse,
    /// `insists` says whether they must nevertheless.
    async fn zero_quickly(
        &self,
        rq: &Request,
        bs: Bs,
        range: ByteRange,
        flags: u32,
        insists: impl FnOnce() -> bool,
    ) -> Result<(), Error> {
        let event = event_of(QuorumOp::Write, range);
        let children = self.list();
        let mut lanes = self.pool.take_bare(children.len())?;
        lanes.run(rq, children, Op::WriteZeroes(flags), range, None, |_| true).await?;
        let unable: Vec<bool> =
            (0..children.len()).map(|lane| lanes.result(lane) == Err(Errno::ENOTSUP)).collect();
        if unable.iter().all(|unable| *unable) {
            if !insists() {
                return Err(Errno::ENOTSUP.into());
            }
        } else if (0..children.len()).any(|lane| lanes.result(lane).is_ok()) {
            self.allowance.renew();
        }
        // Some have done it, or a part of it, so all must.
        let slow = Op::WriteZeroes(flags & !QBR_REQ_NO_FALLBACK);
        lanes.run(rq, children, slow, range, None, |lane| unable.get(lane) == Some(&true)).await?;
        for (lane, child) in children.iter().enumerate() {
            // Only now is it known which failures are to be told.
            if let Err(errno) = lanes.result(lane) {
                event.bad(*child, Some(errno));
            }
        }
        self.judge(&lanes, children, bs, event)
    }

    /// Makes everything that was acknowledged durable.
    ///
    /// # Errors
    /// As for [`Quorum::write`].
    // DIVERGES: children are flushed at the same time; the C driver flushes one after the other.
    pub async fn flush(&self, rq: &Request, bs: Bs) -> Result<(), Error> {
        let event = event_of(QuorumOp::Flush, ByteRange::EMPTY);
        let children = self.list();
        let mut lanes = self.pool.take_bare(children.len())?;
        lanes.run(rq, children, Op::Flush, ByteRange::EMPTY, Some(event), |_| true).await?;
        // DIVERGES: a flush that fails sends QUORUM_FAILURE too; in the C driver it does not.
        self.judge(&lanes, children, bs, event)
    }

    /// Changes all children alike.
    async fn change(&self, rq: &Request, bs: Bs, op: Op<'_>, range: ByteRange) -> Result<(), Error> {
        let event = event_of(QuorumOp::Write, range);
        let _write = self.begin_write(rq, range).await?;
        let children = self.list();
        let mut lanes = self.pool.take_bare(children.len())?;
        lanes.run(rq, children, op, range, Some(event), |_| true).await?;
        self.judge(&lanes, children, bs, event)
    }

    /// Decides whether enough children have not failed; those that have were reported.
    pub(super) fn judge(
        &self,
        lanes: &Lanes,
        children: &[Child],
        bs: Bs,
        event: QuorumEvent,
    ) -> Result<(), Error> {
        let errors = || (0..children.len()).filter_map(|lane| Some((lane, lanes.result(lane).err()?)));
        if children.len().saturating_sub(errors().count()) >= self.options.threshold {
            return Ok(());
        }
        event.failure(bs);
        Err(vote::on_errors(errors()).unwrap_or(Errno::EIO).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(offset: i64, bytes: i64) -> (i64, i64) {
        let event = event_of(QuorumOp::Read, ByteRange::new(offset, bytes).unwrap());
        (event.sector, event.sectors)
    }

    #[test]
    fn sectors_are_those_that_a_range_touches() {
        assert_eq!(sectors(0, 512), (0, 1));
        assert_eq!(sectors(1, 1), (0, 1));
        assert_eq!(sectors(511, 2), (0, 2));
        assert_eq!(sectors(1024, 4096), (2, 8));
        assert_eq!(sectors(i64::MAX, 0), (i64::MAX / 512, 1));
    }
}
