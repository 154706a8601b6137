// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reads, writes, write-zeroes, discards and flushes. Runs in coroutines, on any thread.

use super::error::Error;
use super::state::{report_loss, Gluster, NO_MORE_REQUESTS};
use crate::errno::Errno;
use crate::host::Request;
use crate::iov::GuestIov;
use crate::range::ByteRange;

impl Gluster {
    /// Reads a range. What lies beyond the end of the file reads as zeroes.
    ///
    /// # Errors
    /// The server's; `ENOMEDIUM` after a failed fsync.
    pub async fn read(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        self.check_usable()?;
        range.check_memory(iov.bytes())?;
        let mut rest = range;
        // DIVERGES: a short read goes on, and the end of the file is zero-padded. The C driver fails the last partial sector and
        // takes a read of nothing for a success that leaves old data in the buffer.
        while !rest.is_empty() {
            let skip = range.len().saturating_sub(rest.len());
            let done = self.file.preadv(rq, iov, skip, rest.offset()).await;
            let done = checked(done, rest)?;
            rest = rest.advance(done);
            // With O_DIRECT there is no asking for the rest of a block that the end of the file cuts.
            if done == 0 || !self.is_aligned(rest.offset()) {
                iov.zero_from(range.len().saturating_sub(rest.len()));
                break;
            }
        }
        Ok(())
    }

    /// Writes a range.
    ///
    /// # Errors
    /// The server's; `ENOMEDIUM` after a failed fsync.
    pub async fn write(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        self.check_usable()?;
        range.check_memory(iov.bytes())?;
        if range.is_empty() {
            return Ok(());
        }
        let _writing = self.unflushed.write(range);
        let mut rest = range;
        // DIVERGES: a short write goes on and so finds out what stopped it; the C driver says EIO.
        while !rest.is_empty() {
            let skip = range.len().saturating_sub(rest.len());
            let done = self.file.pwritev(rq, iov, skip, rest.offset()).await;
            match checked(done, rest)? {
                0 => return Err(Errno::EIO.into()),
                done => rest = rest.advance(done),
            }
        }
        Ok(())
    }

    /// Writes zeroes.
    ///
    /// # Errors
    /// The server's, `ENOTSUP` if a brick can't (the block layer then writes a buffer); `ENOMEDIUM` after a failed fsync.
    pub async fn write_zeroes(&self, rq: &Request, range: ByteRange) -> Result<(), Error> {
        self.check_usable()?;
        if range.is_empty() {
            return Ok(());
        }
        self.file.zerofill(rq, range).await.and_then(Errno::check)?;
        Ok(())
    }

    /// Gives back the space of a range, which then reads as zeroes.
    ///
    /// # Errors
    /// The server's; `ENOMEDIUM` after a failed fsync.
    pub async fn discard(&self, rq: &Request, range: ByteRange) -> Result<(), Error> {
        self.check_usable()?;
        if range.is_empty() {
            return Ok(());
        }
        self.file.discard(rq, range).await.and_then(Errno::check)?;
        Ok(())
    }

    /// Makes everything that was acknowledged durable.
    ///
    /// After one failure the data in the client's cache can't be trusted to reach the disk, so no later flush of this node
    /// succeeds, and no other request is taken.
    ///
    /// # Errors
    /// The server's; later on always that of the first failure.
    pub async fn flush(&self, rq: &Request, name: impl FnOnce() -> String) -> Result<(), Error> {
        // DIVERGES: the C driver takes the node away, whose flushes then succeed, and closes the file under requests in
        // flight. Here the file stays open until the node is closed, when nothing is in flight any more.
        if let Some(errno) = self.failure() {
            return Err(errno.into());
        }
        let flush = self.unflushed.begin_flush();
        let Err(errno) = self.file.fsync(rq).await.and_then(Errno::check) else {
            self.unflushed.end_flush(flush);
            // One that failed meanwhile speaks for this one too: a server tells of a lost write only once.
            return self.failure().map_or(Ok(()), |errno| Err(errno.into()));
        };
        if self.fail(errno) {
            report_loss(&name(), &self.options, "fsync of", errno, NO_MORE_REQUESTS);
        }
        Err(errno.into())
    }
}

/// How many bytes an operation has moved. A library can't have moved more than it was asked to.
fn checked(done: Result<i64, Errno>, rest: ByteRange) -> Result<i64, Error> {
    let done = done.and_then(Errno::check)?;
    if done > rest.bytes() {
        return Err(Errno::EIO.into());
    }
    Ok(done)
}
