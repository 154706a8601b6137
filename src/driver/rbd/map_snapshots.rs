// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The object maps of snapshots: copied when one is made, merged into the next newer one when it goes, and taken back by a rollback.
//! Source: RBD format document, section 13.

use std::ffi::CStr;

use super::error::Error;
use super::format::calls;
use super::format::header::Snapshot;
use super::format::object_map::{self, ObjectMap, State};
use super::image::Image;
use super::lookup::Kind;
use super::map::{load_unlocked, Map, INVALID};
use crate::backend::rados::WriteOp;
use crate::errno::Errno;
use crate::host::Request;

impl Map {
    /// Copies the map for a snapshot.
    pub(super) async fn copy(&self, image: &Image, rq: &Request, copy: &CStr) -> Result<(), Errno> {
        let op = WriteOp::new()?.write_full(&self.states().encode());
        let copied = image.meta.change(rq, copy, op).await.and_then(Errno::check);
        copied.map(drop).map_err(|errno| image.noted(errno))
    }

    /// After the snapshot `id` was made: has nothing changed since. Without its copy of the map nobody knows what was there then.
    pub(super) async fn snapshot(
        &self,
        image: &Image,
        rq: &Request,
        id: u64,
        copied: bool,
        fast_diff: bool,
    ) -> Result<(), Error> {
        if !copied {
            invalidate(image, rq, id).await?;
        }
        if fast_diff {
            self.guarded(image, rq, WriteOp::new()?, &object_map::snap_add()).await?;
            self.states_mut().snap_add();
        }
        Ok(())
    }

    /// Before the newest snapshot is removed, whose map was `removed`: what had changed before it counts as changed again. Without its
    /// map that can't be known.
    pub(super) async fn merge(
        &self,
        image: &Image,
        rq: &Request,
        removed: Option<&ObjectMap>,
    ) -> Result<(), Error> {
        let Some(removed) = removed else { return self.invalidate(image, rq).await };
        self.guarded(image, rq, WriteOp::new()?, &object_map::snap_remove(removed)).await?;
        self.states_mut().snap_remove(removed);
        Ok(())
    }

    /// Before a rollback: all that is there now, or was there then, may be there.
    pub(super) async fn before_roll_back(
        &self,
        image: &Image,
        rq: &Request,
        then: &ObjectMap,
    ) -> Result<(), Error> {
        let mut both = then.all_exist();
        let now = self.states().clone();
        for object in (0..now.len()).filter(|object| now.state(*object) != Some(State::Absent)) {
            both.set(object, State::Exists);
        }
        self.replace(image, rq, both).await
    }

    /// After a rollback: what was there then is there.
    pub(super) async fn after_roll_back(
        &self,
        image: &Image,
        rq: &Request,
        then: &ObjectMap,
    ) -> Result<(), Error> {
        self.replace(image, rq, then.all_exist()).await
    }

    /// Puts another map in the place of this one, with as many objects.
    async fn replace(&self, image: &Image, rq: &Request, mut states: ObjectMap) -> Result<(), Error> {
        let count = self.states().len();
        if !states.resize(count, State::Exists) {
            return Err(Errno::EFBIG.into());
        }
        self.guarded(image, rq, WriteOp::new()?, &object_map::save(&states)).await?;
        *self.states_mut() = states;
        Ok(())
    }
}

/// As [`Map::merge`], for a snapshot that has a newer one: what had changed before it counts as changed in that one's map.
pub(super) async fn merge(
    image: &Image,
    rq: &Request,
    removed: Option<&ObjectMap>,
    next: u64,
) -> Result<(), Error> {
    let Kind::Format2(id) = &image.kind else { return Ok(()) };
    if let Some(removed) = removed {
        let call = object_map::snap_remove(removed);
        match image.finder(rq).call(&id.object_map(Some(next)), &call).await {
            Ok(()) => return Ok(()),
            Err(errno) => image.noted(errno),
        };
    }
    invalidate(image, rq, next).await
}

/// Marks the map of a snapshot invalid, for everybody.
async fn invalidate(image: &Image, rq: &Request, snapshot: u64) -> Result<(), Error> {
    let marked = image.call_header(rq, &calls::set_snapshot_flags(snapshot, INVALID, INVALID)).await;
    Ok(marked.map_err(|errno| image.noted(errno))?)
}

/// The map of a snapshot, if it is there and not marked as wrong.
pub(super) async fn of_snapshot(
    image: &Image,
    rq: &Request,
    snapshot: &Snapshot,
) -> Result<Option<ObjectMap>, Error> {
    let Kind::Format2(id) = &image.kind else { return Ok(None) };
    if !snapshot.flags.object_map_is_valid() {
        return Ok(None);
    }
    load_unlocked(image, rq, &id.object_map(Some(snapshot.info.id))).await
}
