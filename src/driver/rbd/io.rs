// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reads, writes and flushes. Runs in coroutines, on any thread. Source: RBD format document, sections 14 and 15.
//!
//! Nearly every request is one piece of guest memory and one object: one library call, and nothing to be kept. The others are
//! cut into object ranges, [`WINDOW`](super::window::WINDOW) of which are under way at a time; where the library needs the bytes of an object in one
//! piece and the guest has them in several, they go through a bounce buffer.

use std::cell::Cell;
use std::iter;

use super::change::NOT_NOTED;
use super::error::Error;
use super::format::striping::ObjectRange;
use super::image::Head;
use super::state::Rbd;
use super::window::{for_each, Window};
use crate::backend::rados::Operation;
use crate::errno::{Errno, ToErrno};
use crate::host::{Buffer, Loan, Request, Shared};
use crate::iov::{GuestIov, Span};
use crate::range::ByteRange;

/// A request that is one operation: one object, one piece of memory, and nothing that stands against it.
#[derive(Debug)]
pub struct One<'a> {
    object: ObjectRange,
    span: Span<'a>,
    /// What a write has to know; it is inside of the gate from here on.
    head: Option<Shared<'a, Head>>,
}

impl Rbd {
    /// A read as one operation, if it can be one. Kept apart from [`Rbd::read`], so that the future of nearly all requests is a
    /// small one.
    pub fn one_read<'a>(&self, iov: &'a GuestIov<'_>, range: ByteRange) -> Option<One<'a>> {
        range.check_memory(iov.bytes()).ok()?;
        let object = self.image.identity.layout.objects(range).next()?;
        let span = only_span(iov, range, &object)?;
        (!self.is_absent(object.object)).then_some(One { object, span, head: None })
    }

    /// Does what [`Rbd::one_read`] has found. False if an object is missing, and it has to be asked why: then [`Rbd::read`] does it.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn read_one(&self, rq: &Request, one: One<'_>) -> Result<bool, Error> {
        let missing = Cell::new(false);
        let read = self.read_object(rq, &one.object, one.span).await;
        let bytes = read.and_then(|ret| self.bytes_read(&one.object, ret, one.span.length(), &missing));
        one.span.zero_from(bytes.map_err(|errno| self.image.noted(errno))?);
        Ok(!missing.get())
    }

    /// A write as one operation, if it can be one: see [`Rbd::one_read`].
    pub fn one_write<'a>(&'a self, iov: &'a GuestIov<'_>, range: ByteRange) -> Option<One<'a>> {
        range.check_memory(iov.bytes()).ok()?;
        let object = self.image.identity.layout.objects(range).next()?;
        let span = only_span(iov, range, &object)?;
        let head = self.image.try_enter()?;
        // In here the size can't change.
        if range.end() > self.image.size() {
            return None;
        }
        Some(One { object, span, head: Some(head) })
    }

    /// Does what [`Rbd::one_write`] has found. False if the object has to be noted in the object map first: then [`Rbd::write`]
    /// does it.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn write_one(&self, rq: &Request, one: One<'_>) -> Result<bool, Error> {
        let Some(head) = &one.head else { return Ok(false) };
        let object = one.object.object;
        let _flight = head.map.as_ref().map(|map| map.take_off(move || iter::once(object)));
        let written = match self.write_object(rq, head, &one.object, one.span) {
            Ok(operation) => self.image.ended(object, operation.await.and_then(acknowledged)),
            Err(errno) if errno == NOT_NOTED => return Ok(false),
            Err(errno) => Err(errno),
        };
        written.map_err(|errno| self.image.noted(errno))?;
        Ok(true)
    }

    /// Reads a range. Objects that aren't there, and what lies behind their ends, read as zeroes.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn read(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        range.check_memory(iov.bytes())?;
        self.read_range(rq, iov, range).await.map_err(|error| self.noted(error))
    }

    /// Chooses a way to read.
    async fn read_range(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        let missing = Cell::new(false);
        if self.is_direct(iov, range) {
            self.read_direct(rq, iov, range, &missing).await?;
        } else {
            self.read_bounced(rq, iov, range, &missing).await?;
        }
        if missing.get() {
            self.check_holes(rq).await?;
        }
        Ok(())
    }

    /// Reads into the guest's memory, of which every object has one piece.
    async fn read_direct(
        &self,
        rq: &Request,
        iov: &GuestIov<'_>,
        range: ByteRange,
        missing: &Cell<bool>,
    ) -> Result<(), Error> {
        let objects = self.objects_to_read(iov, range);
        let span_of =
            |object: &ObjectRange| iov.span(as_len(object.first), as_len(object.length)).ok_or(Errno::EINVAL);
        let start = |object: &ObjectRange| Ok(self.read_object(rq, object, span_of(object)?));
        let landed = |object: &ObjectRange, ret| {
            let span = span_of(object)?;
            span.zero_from(self.bytes_read(object, ret, span.length(), missing)?);
            Ok(())
        };
        Ok(for_each(rq, objects, start, landed).await?)
    }

    /// Reads into memory of our own, and copies it from there.
    async fn read_bounced(
        &self,
        rq: &Request,
        iov: &GuestIov<'_>,
        range: ByteRange,
        missing: &Cell<bool>,
    ) -> Result<(), Error> {
        let mut buffer = self.buffer(rq, range.len()).await?;
        let mut objects = self.objects_to_read(iov, range);
        let mut window = Window::new();
        // Where the bytes of the next object go, and where those of the window begin.
        let (mut next, mut begin): (usize, usize) = (0, 0);
        loop {
            let lent = buffer.lend();
            let filled = window.fill(&mut objects, |object| {
                let span = lent.span(next, as_len(object.length)).ok_or(Errno::EINVAL)?;
                next = next.saturating_add(span.length());
                Ok(self.read_object(rq, object, span))
            });
            // The buffer is ours again before anything is copied out of it.
            rq.settled().await;
            lent.returned(rq);
            let landed = |object: &ObjectRange, ret| {
                let end =
                    begin.saturating_add(self.bytes_read(object, ret, as_len(object.length), missing)?);
                for piece in object.pieces() {
                    let length = as_len(piece.length);
                    let there = end.saturating_sub(begin).min(length);
                    iov.copy_in(as_len(piece.at), buffer.bytes(begin, there), length);
                    begin = begin.saturating_add(length);
                }
                Ok(())
            };
            window.settle(rq, landed).await?;
            if !filled? {
                return Ok(());
            }
        }
    }

    /// The objects of a read that the cluster has to be asked for; what is known not to be there is zeroed at once.
    fn objects_to_read<'a>(
        &'a self,
        iov: &'a GuestIov<'a>,
        range: ByteRange,
    ) -> impl Iterator<Item = ObjectRange> + 'a {
        self.image.identity.layout.objects(range).filter(|object| {
            let absent = self.is_absent(object.object);
            if absent {
                object.pieces().for_each(|piece| iov.copy_in(as_len(piece.at), &[], as_len(piece.length)));
            }
            !absent
        })
    }

    /// Reads a range of one object.
    fn read_object(&self, rq: &Request, object: &ObjectRange, span: Span<'_>) -> Operation {
        let name = self.image.identity.names.name(object.object);
        self.image.reader.read(rq, name.as_c_str(), span, object.offset)
    }

    /// Writes a range; the image grows if it ends behind the end.
    ///
    /// # Errors
    /// The cluster's; `EROFS` if the image was not opened for writing.
    pub async fn write(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        range.check_memory(iov.bytes())?;
        self.write_range(rq, iov, range).await.map_err(|error| self.noted(error))
    }

    /// Passes the gate, and writes.
    async fn write_range(&self, rq: &Request, iov: &GuestIov<'_>, range: ByteRange) -> Result<(), Error> {
        let objects = || self.image.identity.layout.objects(range);
        let write = async |head: &Head| {
            let change = async || self.write_noted(rq, head, iov, range).await;
            self.change_objects(rq, head, objects, false, change).await
        };
        self.inside(rq, range.end(), write).await
    }

    /// Chooses a way to write.
    async fn write_noted(
        &self,
        rq: &Request,
        head: &Head,
        iov: &GuestIov<'_>,
        range: ByteRange,
    ) -> Result<(), Error> {
        if self.is_direct(iov, range) {
            self.write_direct(rq, head, iov, range).await
        } else {
            self.write_bounced(rq, head, iov, range).await
        }
    }

    /// Whether an object is known not to be there, without asking the cluster: the lock is ours, and its map says so.
    fn is_absent(&self, object: u64) -> bool {
        let image = &self.image;
        if !image.has_lock() {
            return false;
        }
        let head = image.gate.try_shared();
        let absent =
            head.as_ref().and_then(|head| head.map.as_ref()).is_some_and(|map| map.is_absent(object));
        // The lock may have gone while we looked.
        absent && image.has_lock()
    }

    /// How many bytes a read brought: none, if the object isn't there. `missing` is set if that may be because there is no such
    /// snapshot, or image, any more.
    fn bytes_read(
        &self,
        object: &ObjectRange,
        ret: i64,
        most: usize,
        missing: &Cell<bool>,
    ) -> Result<usize, Errno> {
        match Errno::check(ret) {
            // A library can't have read more than it was asked to.
            Ok(bytes) => usize::try_from(bytes).ok().filter(|bytes| *bytes <= most).ok_or(Errno::EIO),
            Err(errno) if errno == Errno::ENOENT => {
                missing.set(missing.get() || !self.is_hole(object.object));
                Ok(0)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Looks at an error that goes back to QEMU.
    pub(super) fn noted(&self, error: Error) -> Error {
        self.image.noted(error.errno());
        error
    }

    /// Writes out of the guest's memory, of which every object has one piece.
    async fn write_direct(
        &self,
        rq: &Request,
        head: &Head,
        iov: &GuestIov<'_>,
        range: ByteRange,
    ) -> Result<(), Error> {
        let objects = self.image.identity.layout.objects(range);
        let start = |object: &ObjectRange| {
            let span = iov.span(as_len(object.first), as_len(object.length)).ok_or(Errno::EINVAL)?;
            self.write_object(rq, head, object, span)
        };
        Ok(for_each(rq, objects, start, |object, ret| self.image.ended(object.object, acknowledged(ret)))
            .await?)
    }

    /// Copies what the guest has in its memory now, and writes that.
    async fn write_bounced(
        &self,
        rq: &Request,
        head: &Head,
        iov: &GuestIov<'_>,
        range: ByteRange,
    ) -> Result<(), Error> {
        let layout = self.image.identity.layout;
        let mut buffer = self.buffer(rq, range.len()).await?;
        let mut place: usize = 0;
        for piece in layout.objects(range).flat_map(|object| object.pieces()) {
            buffer.copy_from(iov, as_len(piece.at), place, as_len(piece.length));
            place = place.saturating_add(as_len(piece.length));
        }
        let lent = buffer.lend();
        let mut place: usize = 0;
        let start = |object: &ObjectRange| {
            let span = lent.span(place, as_len(object.length)).ok_or(Errno::EINVAL)?;
            place = place.saturating_add(span.length());
            self.write_object(rq, head, object, span)
        };
        let done = for_each(rq, layout.objects(range), start, |object, ret| {
            self.image.ended(object.object, acknowledged(ret))
        })
        .await;
        lent.returned(rq);
        Ok(done?)
    }

    /// Writes a range of one object.
    fn write_object(
        &self,
        rq: &Request,
        head: &Head,
        object: &ObjectRange,
        span: Span<'_>,
    ) -> Result<Operation, Errno> {
        let identity = &self.image.identity;
        let name = identity.names.name(object.object);
        Self::change_noted(head, object, || {
            Ok(if object.length == identity.layout.object_size() {
                head.writer.write_full(rq, name.as_c_str(), span)
            } else {
                head.writer.write(rq, name.as_c_str(), span, object.offset)
            })
        })
    }

    /// Makes everything that was acknowledged durable: it is so already, on all replicas.
    ///
    /// # Errors
    /// None so far.
    pub async fn flush(&self, _rq: &Request) -> Result<(), Error> {
        Ok(())
    }

    /// A bounce buffer.
    async fn buffer(&self, rq: &Request, bytes: usize) -> Result<Loan<'_, Buffer>, Errno> {
        match self.pool.take(1, bytes)? {
            Some(buffer) => Ok(buffer),
            None => self.pool.take_in_turn(rq, 1, bytes).await,
        }
    }

    /// Whether the guest has the bytes of each object in one piece.
    fn is_direct(&self, iov: &GuestIov<'_>, range: ByteRange) -> bool {
        let is_one = |object: ObjectRange| {
            object.is_one_piece() && iov.span(as_len(object.first), as_len(object.length)).is_some()
        };
        self.image.identity.layout.objects(range).all(is_one)
    }
}

/// The memory of a request that is one piece of it and one range of an object.
fn only_span<'a>(iov: &'a GuestIov<'_>, range: ByteRange, first: &ObjectRange) -> Option<Span<'a>> {
    if as_len(first.length) == range.len() && first.is_one_piece() {
        return iov.span(0, range.len());
    }
    None
}

/// Whether a change was made.
pub(super) fn acknowledged(ret: i64) -> Result<(), Errno> {
    Errno::check(ret).map(drop)
}

/// Whether something is gone now, or was not there.
pub(super) fn removed(ret: i64) -> Result<(), Errno> {
    match Errno::check(ret) {
        Err(errno) if errno != Errno::ENOENT => Err(errno),
        _ => Ok(()),
    }
}

/// A length in memory; what doesn't fit fits nowhere.
pub(super) fn as_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
