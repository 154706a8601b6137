// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Length, size on disk and block status. No query waits long for a server that is away.

use std::sync::atomic::Ordering;
use std::sync::{mpsc, Arc};
use std::time::Duration;

use super::error::Error;
use super::state::{Allocated, Asking, Gluster};
use super::unflushed::Span;
use crate::backend::gfapi::{File, Target};
use crate::errno::{Errno, ToErrno};
use crate::host::{spawn_blocking, spawn_thread, spawn_waiting, Request};
use crate::range::ByteRange;

/// What a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How many bytes from the start of the range on are alike. May go beyond the range.
    pub bytes: i64,
    /// Whether they read as zeroes; else they are data.
    pub zero: bool,
}

/// How long a query for the size on disk waits for the server. QEMU asks in the middle of monitor commands.
const ALLOCATED_TIMEOUT: Duration = Duration::from_millis(100);

impl Gluster {
    /// Length of the file in bytes.
    ///
    /// # Errors
    /// The server's; `ENOMEDIUM` after a failed fsync.
    pub async fn length(&self, rq: &Request) -> Result<i64, Error> {
        self.check_usable()?;
        let file = Arc::clone(&self.file);
        Ok(spawn_blocking(rq, move || file.size()).await??.length)
    }

    /// Bytes that the file occupies on its bricks; while the server is away, what it was last known to occupy.
    ///
    /// # Errors
    /// The server's.
    // DIVERGES: the C driver waits for the server for as long as it takes, in the middle of query-block and with the monitor.
    pub fn allocated(&self) -> Result<i64, Error> {
        let last = self.allocated.bytes.load(Ordering::Relaxed);
        // Else the last one who asked is still waiting.
        let Some(asking) = Allocated::ask(&self.allocated) else { return Ok(last) };
        let (send, receive) = mpsc::sync_channel(1);
        let query = Query { file: Arc::clone(&self.file), asking };
        // A thread of its own: who closes the file waits for it, and must not wait for calls of other nodes.
        spawn_thread("qbr-gluster-size", move || {
            let result = query.file.size().map(|size| size.allocated);
            if let Ok(bytes) = result {
                query.asking.answer(bytes);
            }
            // Before the answer: who gets it may ask again, and expects to be told what is so then.
            drop(query);
            // Nobody listens any more if that took too long.
            drop(send.send(result));
        })?;
        match receive.recv_timeout(ALLOCATED_TIMEOUT) {
            Ok(result) => Ok(result?),
            Err(_) => Ok(last),
        }
    }

    /// Whether a range is data or zeroes.
    ///
    /// Without `want_zero`, and where the library can't tell, everything is data; so is what may not have been written back yet.
    ///
    /// # Errors
    /// `ENOMEDIUM` after a failed fsync; `ENOMEM`. What a server can't tell is data.
    pub async fn block_status(
        &self,
        rq: &Request,
        want_zero: bool,
        range: ByteRange,
    ) -> Result<BlockStatus, Error> {
        self.check_usable()?;
        let data = BlockStatus { bytes: range.bytes(), zero: false };
        if !want_zero || !self.seek_data || range.is_empty() {
            return Ok(data);
        }
        let file = Arc::clone(&self.file);
        // Before a thread is taken: one that waited for its turn would keep others from theirs.
        let mut data_after_hole = self.data_after_hole.exclusive(rq).await?;
        // Whoever walks through an image comes here next, and has been told half of the answer.
        let known_data = *data_after_hole == range.offset();
        // Before the search: what a flush writes back meanwhile may come too late for it.
        let unflushed = self.unflushed.span();
        let extent = spawn_waiting(rq, move || find_extent(&file, range.offset(), known_data)).await?;
        Ok(match extent {
            Extent::Unknown => data,
            Extent::Data(end) => aligned(end, range, self.alignment, false),
            Extent::Hole(end) => {
                if let Some(end) = end {
                    *data_after_hole = end;
                }
                hole(end, range, self.alignment, unflushed)
            }
        })
    }
}

/// Somebody who asks for the size on disk. A node that is being closed waits for it, so the file has to go first.
struct Query {
    file: Arc<File>,
    asking: Asking,
}

/// What begins at an offset, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Data(i64),
    /// Without an end it reaches to the end of the file, or lies beyond it.
    Hole(Option<i64>),
    Unknown,
}

/// Asks the server what begins at `offset`. Blocks.
///
/// With `known_data` there was data a moment ago, which saves a question; if it has gone meanwhile the answer shows it.
fn find_extent(file: &File, offset: i64, known_data: bool) -> Extent {
    if known_data {
        if let Ok(hole) = file.seek(offset, Target::Hole) {
            if hole > offset {
                return Extent::Data(hole);
            }
        }
    }
    match file.seek(offset, Target::Data) {
        Err(error) if error.errno() == Errno::ENXIO => Extent::Hole(None),
        Ok(data) if data > offset => Extent::Hole(Some(data)),
        Ok(data) if data == offset => match file.seek(offset, Target::Hole) {
            Ok(hole) if hole > offset => Extent::Data(hole),
            // A server that finds both a hole and data in one place, or nothing at all.
            Ok(_) | Err(_) => Extent::Unknown,
        },
        // Old servers can answer with an offset before the one asked for.
        Ok(_) | Err(_) => Extent::Unknown,
    }
}

/// The status of a hole that reaches from the start of `range` to `end`, or to the end of the file.
// DIVERGES: what was written since the last flush is data. The search overtakes writes that the client has acknowledged and holds
// back, and the C driver believes it.
fn hole(end: Option<i64>, range: ByteRange, alignment: u32, unflushed: Span) -> BlockStatus {
    let last = end.unwrap_or_else(|| range.end());
    if unflushed.meets(range.offset(), last) {
        if unflushed.start > range.offset() {
            return aligned(unflushed.start, range, alignment, true);
        }
        return aligned(unflushed.end.min(last), range, alignment, false);
    }
    match end {
        Some(end) => aligned(end, range, alignment, true),
        None => BlockStatus { bytes: range.bytes(), zero: true },
    }
}

/// The status of what reaches from the start of `range` to `end`, in whole requests: data is rounded up, as at the end of a file, and
/// zeroes are rounded down; what is then left of them is data.
fn aligned(end: i64, range: ByteRange, alignment: u32, zero: bool) -> BlockStatus {
    let alignment = i64::from(alignment.max(1));
    let bytes = end.saturating_sub(range.offset());
    let part = bytes.checked_rem(alignment).unwrap_or(0);
    let whole = bytes.saturating_sub(part);
    if zero && whole > 0 {
        return BlockStatus { bytes: whole, zero };
    }
    let bytes = if part > 0 { whole.saturating_add(alignment) } else { whole };
    BlockStatus { bytes, zero: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: i64, bytes: i64) -> ByteRange {
        ByteRange::new(offset, bytes).unwrap()
    }

    #[test]
    fn hole_ends_where_something_may_have_been_written() {
        let span = |start, end| Span { start, end };
        let zero = |bytes| BlockStatus { bytes, zero: true };
        let data = |bytes| BlockStatus { bytes, zero: false };
        for (end, unflushed, expected) in [
            (Some(12288), span(12288, 20480), zero(8192)),
            (Some(12288), span(0, 4096), zero(8192)),
            (Some(12288), span(8000, 20480), zero(3584)),
            (Some(12288), span(4200, 20480), data(512)),
            (Some(12288), span(4096, 20480), data(8192)),
            (Some(12288), span(0, 5000), data(1024)),
            (None, span(0, 20480), data(16384)),
            (None, span(8192, 20480), zero(4096)),
            (None, span(20480, 30000), zero(16384)),
        ] {
            assert_eq!(hole(end, range(4096, 16384), 512, unflushed), expected, "{end:?} {unflushed:?}");
        }
    }

    #[test]
    fn aligned_data_is_rounded_up() {
        let status = aligned(1000, range(0, 4096), 512, false);
        assert_eq!(status, BlockStatus { bytes: 1024, zero: false });
    }

    #[test]
    fn aligned_zeroes_are_rounded_down() {
        let status = aligned(1000, range(0, 4096), 512, true);
        assert_eq!(status, BlockStatus { bytes: 512, zero: true });
    }

    #[test]
    fn aligned_zeroes_of_less_than_a_request_are_data() {
        let status = aligned(100, range(0, 4096), 512, true);
        assert_eq!(status, BlockStatus { bytes: 512, zero: false });
    }

    #[test]
    fn aligned_to_single_bytes_is_exact() {
        let status = aligned(1001, range(1, 4096), 1, true);
        assert_eq!(status, BlockStatus { bytes: 1000, zero: true });
    }
}
