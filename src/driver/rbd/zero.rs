// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Write-zeroes and discards. Runs in coroutines, on any thread. Source: RBD format document, section 16.

use super::error::Error;
use super::format::striping::ObjectRange;
use super::image::Head;
use super::io::{acknowledged, as_len, removed};
use super::map::is_full;
use super::state::Rbd;
use super::window::for_each;
use crate::backend::rados::{Operation, PoolHandle, WriteOp};
use crate::errno::Errno;
use crate::host::Request;
use crate::range::ByteRange;

/// A discard gives back whole blocks of this size in an object, in bytes; less isn't worth an operation.
const DISCARD_GRANULARITY: u64 = 64 << 10;
/// Zeroes that an object is filled with.
static ZEROES: [u8; 4096] = [0; 4096];

impl Rbd {
    /// Writes zeroes; with `may_unmap` by giving the space back. The image grows if the range ends behind the end.
    ///
    /// # Errors
    /// The cluster's; `EROFS` if the image was not opened for writing.
    pub async fn write_zeroes(&self, rq: &Request, range: ByteRange, may_unmap: bool) -> Result<(), Error> {
        let done = self.zero_range(rq, range, may_unmap).await;
        done.map_err(|error| self.noted(error))
    }

    /// Passes the gate, and writes zeroes.
    async fn zero_range(&self, rq: &Request, range: ByteRange, may_unmap: bool) -> Result<(), Error> {
        let objects = || self.image.identity.layout.objects(range);
        let zero = async |head: &Head| {
            if may_unmap {
                return self.unmap_objects(rq, head, objects).await;
            }
            let fill = async || {
                let start = |object: &ObjectRange| self.fill(rq, head, object);
                Ok(for_each(rq, objects(), start, |object, ret| {
                    self.image.ended(object.object, acknowledged(ret))
                })
                .await?)
            };
            self.change_objects(rq, head, objects, false, fill).await
        };
        self.inside(rq, range.end(), zero).await
    }

    /// Gives back the space of a range, as far as it is whole blocks. What it reads as then is not promised.
    ///
    /// # Errors
    /// The cluster's; `EROFS` if the image was not opened for writing.
    pub async fn discard(&self, rq: &Request, range: ByteRange) -> Result<(), Error> {
        self.discard_range(rq, range).await.map_err(|error| self.noted(error))
    }

    /// Passes the gate, and discards.
    async fn discard_range(&self, rq: &Request, range: ByteRange) -> Result<(), Error> {
        let layout = self.image.identity.layout;
        let discard = async |head: &Head| {
            // Behind the end there is nothing.
            let range = range.truncate(self.image.size().saturating_sub(range.offset()));
            let objects =
                || layout.objects(range).filter_map(|object| whole_blocks(object, layout.object_size()));
            self.unmap_objects(rq, head, objects).await
        };
        self.inside(rq, 0, discard).await
    }

    /// Has ranges of objects read as zeroes, without the space.
    pub(super) async fn unmap_objects<O: Iterator<Item = ObjectRange>>(
        &self,
        rq: &Request,
        head: &Head,
        objects: impl Fn() -> O,
    ) -> Result<(), Error> {
        let size = self.image.identity.layout.object_size();
        self.cut_objects(rq, head, || objects().filter(|object| object.length != size)).await?;
        let whole = objects().filter(|object| object.length == size).map(|object| object.object);
        self.remove_objects(rq, head, whole).await
    }

    /// Cuts ranges out of objects, which stay.
    async fn cut_objects<O: Iterator<Item = ObjectRange>>(
        &self,
        rq: &Request,
        head: &Head,
        objects: impl Fn() -> O,
    ) -> Result<(), Error> {
        let there = || objects().filter(|object| !is_absent(head, object.object));
        let cut_with = async |pool: &PoolHandle| {
            let start = |object: &ObjectRange| self.cut(rq, head, pool, object);
            for_each(rq, there(), start, |object, ret| self.image.ended(object.object, removed(ret))).await
        };
        let cut = async || match cut_with(&head.remover).await {
            // A cut may make an object longer, which waits for space as a write does.
            Err(errno) if is_full(errno) => Ok(cut_with(&head.writer).await?),
            done => Ok(done?),
        };
        self.change_objects(rq, head, &objects, true, cut).await
    }

    /// Removes objects, given in ascending order.
    pub(super) async fn remove_objects(
        &self,
        rq: &Request,
        head: &Head,
        objects: impl Iterator<Item = u64>,
    ) -> Result<(), Error> {
        let start = |object: &u64| {
            let name = self.image.identity.names.name(*object);
            Ok(head.remover.remove(rq, name.as_c_str()))
        };
        let Some(map) = &head.map else {
            return Ok(
                for_each(rq, objects, start, |object, ret| self.image.ended(*object, removed(ret))).await?
            );
        };
        let mut objects = objects.filter(|object| !map.is_absent(*object)).peekable();
        while let Some(first) = objects.next() {
            let mut run = first..first.saturating_add(1);
            while objects.next_if_eq(&run.end).is_some() {
                run.end = run.end.saturating_add(1);
            }
            let remove = async || {
                let there = run.clone().filter(|object| !map.is_absent(*object));
                Ok(for_each(rq, there, start, |object, ret| self.image.ended(*object, removed(ret))).await?)
            };
            map.removing(&self.image, rq, run.clone(), remove).await?;
        }
        Ok(())
    }

    /// Cuts a range out of an object.
    fn cut(
        &self,
        rq: &Request,
        head: &Head,
        pool: &PoolHandle,
        object: &ObjectRange,
    ) -> Result<Operation, Errno> {
        let identity = &self.image.identity;
        let name = identity.names.name(object.object);
        // Neither of the two creates an object that isn't there.
        let op = WriteOp::new()?;
        let op = if object.offset.saturating_add(object.length) == identity.layout.object_size() {
            op.truncate(object.offset)
        } else {
            op.zero(object.offset, object.length)
        };
        Self::change_noted(head, object, || Ok(pool.change(rq, name.as_c_str(), op)))
    }

    /// Fills a range of an object with zeroes that take their space.
    // DIVERGES: without unmap zeroes take their space; in the C driver they never do, as it looks for a flag in the wrong way.
    fn fill(&self, rq: &Request, head: &Head, object: &ObjectRange) -> Result<Operation, Errno> {
        let name = self.image.identity.names.name(object.object);
        let rest = object.length.checked_rem(512).unwrap_or(0);
        let whole = object.length.saturating_sub(rest);
        let pattern = if whole.checked_rem(4096) == Some(0) { 4096 } else { 512 };
        let mut op = WriteOp::new()?;
        if whole > 0 {
            op = op.write_same(ZEROES.get(..pattern).unwrap_or(&ZEROES), whole, object.offset);
        }
        if rest > 0 {
            let rest = ZEROES.get(..as_len(rest)).unwrap_or(&ZEROES);
            op = op.write(rest, object.offset.saturating_add(whole));
        }
        Self::change_noted(head, object, || Ok(head.writer.change(rq, name.as_c_str(), op)))
    }
}

/// Whether an object is known not to be there.
fn is_absent(head: &Head, object: u64) -> bool {
    head.map.as_ref().is_some_and(|map| map.is_absent(object))
}

/// The whole blocks of a range that is to be discarded.
fn whole_blocks(object: ObjectRange, object_size: u64) -> Option<ObjectRange> {
    let granularity = DISCARD_GRANULARITY.min(object_size).max(1);
    let end = object.offset.saturating_add(object.length);
    if granularity == object_size && end == object_size {
        return Some(object);
    }
    let start = object.offset.checked_next_multiple_of(granularity)?;
    let end = end.saturating_sub(end.checked_rem(granularity)?);
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some(ObjectRange::of(object.object, start, length))
}

#[cfg(test)]
mod tests {
    use super::super::format::striping::Layout;
    use super::*;

    /// The only object range of a request.
    fn object(offset: i64, bytes: i64) -> ObjectRange {
        Layout::plain(22).unwrap().objects(ByteRange::new(offset, bytes).unwrap()).next().unwrap()
    }

    fn blocks(offset: i64, bytes: i64) -> Option<(u64, u64)> {
        whole_blocks(object(offset, bytes), 4 << 20).map(|object| (object.offset, object.length))
    }

    #[test]
    fn discard_keeps_what_is_no_whole_block() {
        assert_eq!(blocks(4096, 4096), None);
        assert_eq!(blocks(0, 64 << 10), Some((0, 64 << 10)));
        assert_eq!(blocks(1, 64 << 10), None);
        assert_eq!(blocks(1, (128 << 10) - 1), Some((64 << 10, 64 << 10)));
        assert_eq!(blocks(0, 4 << 20), Some((0, 4 << 20)));
    }

    #[test]
    fn discard_to_the_end_of_a_small_object_is_exact() {
        let small = |offset, bytes| {
            let range = ByteRange::new(offset, bytes).unwrap();
            let object = Layout::plain(16).unwrap().objects(range).next().unwrap();
            whole_blocks(object, 64 << 10).map(|object| (object.offset, object.length))
        };
        assert_eq!(small(512, (64 << 10) - 512), Some((512, (64 << 10) - 512)));
        assert_eq!(small(512, 1024), None);
    }
}
