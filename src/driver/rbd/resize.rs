// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changing the size. Source: RBD format document, sections 3.3 and 17.

use std::sync::atomic::Ordering;

use super::change::again_without_the_lock;
use super::error::Error;
use super::format::calls;
use super::format::features::Features;
use super::format::format1;
use super::format::object_map::MAX_OBJECTS;
use super::format::striping::{check_size, Layout, ObjectRange};
use super::image::Head;
use super::io::acknowledged;
use super::lookup::Kind;
use super::map::is_full;
use super::state::Rbd;
use crate::backend::rados::WriteOp;
use crate::errno::{Errno, ToErrno};
use crate::host::Request;

impl Rbd {
    /// Sets the length to `size` bytes. What is added reads as zeroes; what is cut off is gone, except in snapshots.
    ///
    /// # Errors
    /// The cluster's; `EROFS` if the image was not opened for writing, `EFBIG` for a size whose end has no offset, or for which an
    /// object map would be too large.
    pub async fn truncate(&self, rq: &Request, size: u64) -> Result<(), Error> {
        check_size(size)?;
        again_without_the_lock(async || {
            let mut head = self.image.alone(rq).await?;
            self.resize(rq, &mut head, size).await.map_err(|error| match error {
                Error::LockLost => error,
                error => Error::Resize { size, errno: error.errno() },
            })
        })
        .await?;
        self.image.announce(rq).await;
        Ok(())
    }

    /// Makes the image end at `end`, if it ends before.
    pub(super) async fn grow(&self, rq: &Request, end: i64) -> Result<(), Error> {
        let mut head = self.image.alone(rq).await?;
        // Another request may have been faster.
        if end <= self.image.size() {
            return Ok(());
        }
        self.resize(rq, &mut head, u64::try_from(end).unwrap_or(0)).await?;
        drop(head);
        self.image.announce(rq).await;
        Ok(())
    }

    /// Sets the size, with no write in flight.
    pub(super) async fn resize(&self, rq: &Request, head: &mut Head, size: u64) -> Result<(), Error> {
        let done = self.try_resize(rq, head, size).await;
        // An answer that was lost may have been a yes; what the size is only the header knows.
        done.inspect_err(|_| self.image.stale.store(true, Ordering::Release))
    }

    /// Sets the size, or fails half-way.
    async fn try_resize(&self, rq: &Request, head: &mut Head, size: u64) -> Result<(), Error> {
        let new = check_size(size)?;
        let old = u64::try_from(head.state.size).unwrap_or(0);
        let count = self.image.identity.layout.object_count(size);
        if size > old && count > MAX_OBJECTS && head.state.features.contains(Features::OBJECT_MAP) {
            return Err(Errno::EFBIG.into());
        }
        if size < old {
            // What can be reached is cut off before the header says so: a crash in between leaves holes, and never old data in an
            // image that grows again.
            self.trim(rq, head, size, old).await?;
        }
        if let Some(map) = head.map.as_ref().filter(|_| size > old) {
            map.resize(&self.image, rq, count).await?;
        }
        if size != old {
            let image = &self.image;
            let op = match &image.kind {
                Kind::Format1 { .. } => {
                    WriteOp::new()?.assert_exists().write(&size.to_le_bytes(), format1::SIZE_OFFSET)
                }
                Kind::Format2(_) => {
                    let call = calls::set_size(size);
                    WriteOp::new()?.exec(call.class(), call.method(), call.input())
                }
            };
            acknowledged(image.meta.change(rq, &image.header, op).await?)?;
            head.state.size = new;
            image.size.store(new, Ordering::Release);
            image.told.store(new, Ordering::Release);
        }
        // Also if the size was set already, before the lock was lost or an answer: the kernel's client refuses a map that is too long.
        if let Some(map) = &head.map {
            match map.resize(&self.image, rq, count).await {
                // One that is too long is right, too.
                Err(Error::Errno(errno)) if is_full(errno) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Removes what an image of `old` bytes has and one of `size` bytes has not.
    async fn trim(&self, rq: &Request, head: &Head, size: u64, old: u64) -> Result<(), Error> {
        let layout = self.image.identity.layout;
        let all = first_cut(layout, size)..layout.object_count(old);
        let cut = |object: u64| {
            let keep = layout.object_length(object, size);
            let had = layout.object_length(object, old);
            (0 < keep && keep < had).then(|| ObjectRange::of(object, keep, had.saturating_sub(keep)))
        };
        let last = all.end.min(all.start.saturating_add(layout.stripe_count()));
        self.unmap_objects(rq, head, || (all.start..last).filter_map(cut)).await?;
        let gone = all.filter(|object| layout.object_length(*object, size) == 0);
        self.remove_objects(rq, head, gone).await
    }
}

/// The first object that an image of that size may not have whole: the first one of the set with its end.
fn first_cut(layout: Layout, size: u64) -> u64 {
    let (object, _) = layout.locate(size);
    object.saturating_sub(object.checked_rem(layout.stripe_count()).unwrap_or(0))
}
