// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reads. The vote is taken on private memory: a guest that changes its buffer meanwhile changes no vote, no report and no
//! repair.

use super::error::Error;
use super::io::event_of;
use super::options::ReadPattern;
use super::repair::Ticket;
use super::state::Quorum;
use super::vote;
use crate::errno::Errno;
use crate::host::qemu::{exit_with, Bs, QuorumEvent, QuorumOp};
use crate::host::{Child, Lanes, Op, Request};
use crate::iov::GuestIov;
use crate::range::ByteRange;

/// Buffers are compared and copied in pieces, of which those of all children stay in the nearest cache meanwhile.
const PIECE: usize = 8 << 10;

impl Quorum {
    /// Reads a range.
    ///
    /// # Errors
    /// What most of the failed children answered, if fewer than the threshold succeeded; `EIO` if fewer agree.
    pub async fn read(
        &self,
        rq: &Request,
        bs: Bs,
        iov: &GuestIov<'_>,
        range: ByteRange,
    ) -> Result<(), Error> {
        range.check_memory(iov.bytes())?;
        let event = event_of(QuorumOp::Read, range);
        match self.options.pattern {
            ReadPattern::Quorum => self.read_all(rq, bs, iov, range, event).await,
            ReadPattern::Fifo => read_first(self.list(), bs, iov, range, event),
        }
    }

    /// Reads all children, and delivers what the majority says.
    async fn read_all(
        &self,
        rq: &Request,
        bs: Bs,
        iov: &GuestIov<'_>,
        range: ByteRange,
        event: QuorumEvent,
    ) -> Result<(), Error> {
        let reading = self.repairs.as_ref().map(|repairs| repairs.begin_read(range));
        let children = self.list();
        let mut lanes = match self.pool.take(children.len(), range.len())? {
            Some(lanes) => lanes,
            None => self.pool.take_in_turn(rq, children.len(), range.len()).await?,
        };
        lanes.run(rq, children, Op::Read, range, Some(event), |_| true).await?;
        self.judge(&lanes, children, bs, event)?;
        if self.options.blkverify {
            verify(&lanes, range);
        }
        if deliver_if_unanimous(&lanes, children.len(), iov, range.len()) {
            return Ok(());
        }

        let ballot = vote::on_content(
            succeeded(&lanes, children.len()).map(|lane| (lane, lanes.bytes(lane, range.len()))),
        );
        let winner = ballot.winner().filter(|winner| winner.voters.len() >= self.options.threshold);
        let Some((winner, from)) = winner.and_then(|winner| Some((winner, *winner.voters.first()?))) else {
            event.failure(bs);
            return Err(Errno::EIO.into());
        };
        iov.writer().write(lanes.bytes(from, range.len()));
        let losers: Vec<usize> = ballot.losers(winner).collect();
        let losing = || losers.iter().filter_map(|lane| children.get(*lane));
        for child in losing() {
            event.bad(*child, None);
        }
        // DIVERGES: a repair writes what has won, from private memory; the C driver writes the guest's buffer, which the guest
        // may have changed by then. And it leaves out what the guest has written meanwhile.
        // A node has no permission for it while it is inactive, and for a moment after that.
        let may_repair = losing().all(|child| child.may_be_written());
        if may_repair && reading.as_ref().is_some_and(Ticket::begin_repair) {
            // It is an attempt: whether it succeeds, the next read will tell.
            let _attempt =
                lanes.run(rq, children, Op::Copy { from }, range, None, |lane| losers.contains(&lane)).await;
        }
        Ok(())
    }
}

/// Reads the children in their order until one succeeds; straight into the guest's memory, as nothing is compared.
fn read_first(
    children: &[Child],
    bs: Bs,
    iov: &GuestIov<'_>,
    range: ByteRange,
    event: QuorumEvent,
) -> Result<(), Error> {
    let mut last = Errno::EIO;
    for child in children {
        match child.read(iov.part(), range) {
            Ok(()) => return Ok(()),
            Err(errno) => {
                event.bad(*child, Some(errno));
                last = errno;
            }
        }
    }
    // DIVERGES: that no child could be read is a QUORUM_FAILURE too; the C driver does not send one in fifo mode.
    event.failure(bs);
    Err(last.into())
}

/// The lanes that have data.
fn succeeded(lanes: &Lanes, count: usize) -> impl Iterator<Item = usize> + Clone + '_ {
    (0..count).filter(|lane| lanes.result(*lane).is_ok())
}

/// Copies the data to the guest if all children that have some have the same. The guest gets only what all agree on, but may
/// have got a part when this returns false.
fn deliver_if_unanimous(lanes: &Lanes, count: usize, iov: &GuestIov<'_>, bytes: usize) -> bool {
    let mut voters = succeeded(lanes, count).map(|lane| lanes.bytes(lane, bytes).chunks(PIECE));
    let Some(first) = voters.next() else { return false };
    let mut writer = iov.writer();
    for (number, piece) in first.enumerate() {
        let same = |mut other: std::slice::Chunks<'_, u8>| other.nth(number) == Some(piece);
        if !voters.clone().all(same) {
            return false;
        }
        writer.write(piece);
    }
    true
}

/// Ends the process if the two children differ, as blkverify promises.
fn verify(lanes: &Lanes, range: ByteRange) {
    let (one, two) = (lanes.bytes(0, range.len()), lanes.bytes(1, range.len()));
    if one == two {
        return;
    }
    let differs = one.iter().zip(two).position(|(one, two)| one != two).unwrap_or(0);
    let at = range.offset().saturating_add(i64::try_from(differs).unwrap_or(0));
    // Tests look for these words.
    exit_with(&format!(
        "quorum: offset={} bytes={} contents mismatch at offset {at}",
        range.offset(),
        range.bytes()
    ));
}
