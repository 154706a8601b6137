// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Internal snapshots. Runs in the main loop, outside of coroutines, and blocks on the network; the node is drained. Source: RBD
//! format document, section 18.

use std::ffi::CString;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::connect::text;
use super::error::{ignore, is_refusal, Error};
use super::format::calls;
use super::format::features::Features;
use super::format::header::Snapshot;
use super::format::object_map::ObjectMap;
use super::format::records::SnapshotKind;
use super::format::replies::{self, Protection};
use super::format::{format1, names};
use super::image::Head;
use super::lookup::Kind;
use super::map::{self, is_full};
use super::map_snapshots;
use super::refusal;
use super::state::Rbd;
use crate::errno::{Errno, ToErrno};
use crate::host::{spawn_blocking, Request};

/// A snapshot that has this many bytes in its name doesn't fit in QEMU's table.
const NAME_SIZE: usize = 128;
/// How often another number is tried for a snapshot because another client was faster.
const MAX_TRIES: u32 = 10;
/// How many objects are rolled back at a time.
const ROLL_BACK_AT_A_TIME: usize = 10;

/// A snapshot as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: CString,
    /// The size of the image then, in bytes.
    pub size: u64,
}

impl Rbd {
    /// The users' snapshots as far as they are known, the oldest first. Never asks the cluster: the monitor of QEMU must not wait.
    ///
    /// # Errors
    /// None so far.
    pub async fn snapshot_list(&self, _rq: &Request) -> Result<Vec<Listed>, Error> {
        let listed = self.image.listed();
        let users = listed.iter().filter(|snapshot| snapshot.is_users());
        let named = users.filter_map(|snapshot| {
            let name = CString::new(snapshot.info.name.clone()).ok()?;
            Some(Listed { name, size: snapshot.info.size })
        });
        Ok(named.collect())
    }

    /// Makes a snapshot. QEMU may give it an id, which has to be its name or nothing.
    ///
    /// # Errors
    /// `EINVAL` without a name, or with another id; `ERANGE` for one that is too long; `EEXIST`; the cluster's.
    pub async fn snapshot_create(&self, rq: &Request, name: &[u8], id: &[u8]) -> Result<(), Error> {
        check_name(name)?;
        if !id.is_empty() && id != name {
            return Err(failed("create", name, Errno::EINVAL));
        }
        let mut head = self.image.alone(rq).await.map_err(|error| failed_by("create", name, error))?;
        let added = self.add_snapshot(rq, &mut head, name).await;
        drop(head);
        added.map_err(|error| failed_by("create", name, error))?;
        self.image.announce(rq).await;
        Ok(())
    }

    /// Registers a snapshot under a new number and makes writes know it.
    async fn add_snapshot(&self, rq: &Request, head: &mut Head, name: &[u8]) -> Result<(), Error> {
        let image = &self.image;
        if users_snapshot(&head.snapshots, name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        let mut tries: u32 = 0;
        loop {
            // Numbers belong to the pool with the data.
            let id = image.reader.create_snapshot_id(rq).await?;
            // Before anybody knows of the snapshot: without space for the copy there is none.
            let copied = self.copy_map(rq, head, id).await;
            if let Err(errno) = copied {
                if is_full(errno) {
                    self.forget_number(rq, head, id).await;
                    return Err(errno.into());
                }
            }
            let call = match &image.kind {
                Kind::Format1 { .. } => format1::snap_add(name, id),
                Kind::Format2(_) => calls::snapshot_add(name, id),
            };
            // From here to the end of `read_header` no write may go out: it would change the snapshot.
            let added = self.image.call_header(rq, &call).await;
            if let Err(errno) = added {
                if !is_refusal(errno) {
                    // It may be there, and then the next write has to know it.
                    image.stale.store(true, Ordering::Release);
                    return Err(errno.into());
                }
                self.forget_number(rq, head, id).await;
                if errno.code() != libc::ESTALE || tries >= MAX_TRIES {
                    return Err(errno.into());
                }
                // Another client has added one with a higher number.
                tries = tries.saturating_add(1);
                continue;
            }
            // Whatever becomes of the map, the snapshot is there.
            let mapped = self.map_snapshot(rq, head, id, copied.is_ok()).await;
            return self.adopt(rq, head).await.and(mapped);
        }
    }

    /// Gives back the number of a snapshot that was not made, and what there is of its map; what can't be given back is only lost.
    async fn forget_number(&self, rq: &Request, head: &Head, id: u64) {
        if let (Some(_), Kind::Format2(image)) = (&head.map, &self.image.kind) {
            let removed = self.image.meta.remove(rq, &image.object_map(Some(id))).await;
            ignore(removed.and_then(Errno::check).map(drop));
        }
        ignore(self.image.reader.remove_snapshot_id(rq, id).await);
    }

    /// Keeps the object map for a snapshot that is about to be made.
    async fn copy_map(&self, rq: &Request, head: &Head, id: u64) -> Result<(), Errno> {
        let (Some(map), Kind::Format2(image)) = (&head.map, &self.image.kind) else { return Ok(()) };
        map.copy(&self.image, rq, &image.object_map(Some(id))).await
    }

    /// Has the object map know a new snapshot.
    async fn map_snapshot(&self, rq: &Request, head: &Head, id: u64, copied: bool) -> Result<(), Error> {
        let Some(map) = &head.map else { return Ok(()) };
        let fast_diff = head.state.features.contains(Features::FAST_DIFF);
        map.snapshot(&self.image, rq, id, copied, fast_diff).await
    }

    /// Has the object maps forget a snapshot that is about to be removed.
    async fn unmap_snapshot(&self, rq: &Request, head: &Head, id: u64) -> Result<(), Error> {
        let Kind::Format2(image) = &self.image.kind else { return Ok(()) };
        // Snapshots may have maps although the image has lost its own.
        if !head.state.features.contains(Features::OBJECT_MAP) {
            return Ok(());
        }
        let own = image.object_map(Some(id));
        if head.state.features.contains(Features::FAST_DIFF) {
            let says_what_changed = head
                .snapshots
                .iter()
                .any(|snapshot| snapshot.info.id == id && snapshot.flags.fast_diff_is_valid());
            let removed =
                if says_what_changed { map::load_unlocked(&self.image, rq, &own).await? } else { None };
            // The oldest one first, so the one behind it is the next newer one.
            let next = head.snapshots.iter().find(|other| other.info.id > id).map(|other| other.info.id);
            match (next, &head.map) {
                (Some(next), _) => map_snapshots::merge(&self.image, rq, removed.as_ref(), next).await?,
                (None, Some(map)) => map.merge(&self.image, rq, removed.as_ref()).await?,
                // It was marked when it could not be had.
                (None, None) => {}
            }
        }
        ignore(self.image.meta.remove(rq, &own).await.and_then(Errno::check).map(drop));
        Ok(())
    }

    /// Reads the header after a change of our own. If that fails the next write has to do it.
    async fn adopt(&self, rq: &Request, head: &mut Head) -> Result<(), Error> {
        let read = self.image.read_header(rq, head).await;
        if read.is_err() {
            self.image.stale.store(true, Ordering::Release);
        }
        read
    }

    /// Removes a snapshot. QEMU may name it by its id, which is its name.
    ///
    /// # Errors
    /// `EINVAL` without a name, or with another id; `ENOENT`; `EBUSY` if it is protected; `ENOTSUP` if it still sees a parent; the
    /// cluster's.
    pub async fn snapshot_delete(
        &self,
        rq: &Request,
        id: Option<&[u8]>,
        name: Option<&[u8]>,
    ) -> Result<(), Error> {
        let Some(name) = name else {
            return Err(failed("delete", id.unwrap_or_default(), Errno::EINVAL));
        };
        if id.is_some_and(|id| !id.is_empty() && id != name) {
            return Err(failed("delete", name, Errno::EINVAL));
        }
        let mut head = self.image.alone(rq).await.map_err(|error| failed_by("delete", name, error))?;
        let removed = self.remove_snapshot(rq, &mut head, name).await.inspect_err(|_| {
            // How far it came only the header knows.
            self.image.stale.store(true, Ordering::Release);
        });
        drop(head);
        removed.map_err(|error| failed_by("delete", name, error))?;
        self.image.announce(rq).await;
        Ok(())
    }

    /// Takes a snapshot out of the header and has the pool forget it.
    async fn remove_snapshot(&self, rq: &Request, head: &mut Head, name: &[u8]) -> Result<(), Error> {
        // One that is in the trash is there because an earlier attempt came to no end.
        let found = users_snapshot(&head.snapshots, name).or_else(|| removed_snapshot(&head.snapshots, name));
        let snapshot = found.ok_or(Errno::ENOENT)?;
        let id = snapshot.info.id;
        if snapshot.protection != Protection::Unprotected {
            return Err(Errno::EBUSY.into());
        }
        // The last one of them would have to be taken off the parent's list of children.
        refusal::check_snapshot(snapshot)?;
        match &self.image.kind {
            Kind::Format1 { .. } => {
                self.image.reader.remove_snapshot_id(rq, id).await?;
                self.image.call_header(rq, &format1::snap_remove(name)).await?;
            }
            Kind::Format2(_) => {
                match self.image.call_header(rq, &calls::snapshot_trash_add(id)).await {
                    // It is there already; or the cluster is from before Mimic, and has no trash for snapshots.
                    Err(errno) if errno != Errno::ENOTSUP && errno != Errno::EEXIST => {
                        return Err(errno.into())
                    }
                    _ => {}
                }
                if self.has_clones(rq, id).await? {
                    // It stays in the trash until its last clone goes.
                    return self.adopt(rq, head).await;
                }
                self.unmap_snapshot(rq, head, id).await?;
                self.image.reader.remove_snapshot_id(rq, id).await?;
                match self.image.call_header(rq, &calls::snapshot_remove(id)).await {
                    Err(errno) if errno != Errno::ENOENT => return Err(errno.into()),
                    _ => {}
                }
            }
        }
        self.adopt(rq, head).await
    }

    /// Whether a snapshot has clones that are registered with it.
    async fn has_clones(&self, rq: &Request, id: u64) -> Result<bool, Error> {
        let finder = self.image.finder(rq);
        let replies = finder.ask(&self.image.header, &[calls::snapshot_get(id)]).await?;
        Ok(replies::snapshot(replies.bytes(0))?.child_count > 0)
    }

    /// Gives the image the content and the size that it had at a snapshot.
    ///
    /// # Errors
    /// `ENOENT`; `ENOTSUP` if it still sees a parent; the cluster's, and then some objects may have been rolled back and others not.
    // DIVERGES: going to a snapshot asks for the lock; the C driver fails while another client has it.
    pub async fn snapshot_goto(&self, rq: &Request, name: &[u8]) -> Result<(), Error> {
        let mut head = self.image.alone(rq).await.map_err(|error| failed_by("go to", name, error))?;
        let done = self.roll_back(rq, &mut head, name).await;
        drop(head);
        done.map_err(|error| failed_by("go to", name, error))?;
        self.image.announce(rq).await;
        Ok(())
    }

    /// Rolls all objects back, those of the image as it is and those that it had.
    async fn roll_back(&self, rq: &Request, head: &mut Head, name: &[u8]) -> Result<(), Error> {
        let snapshot = users_snapshot(&head.snapshots, name).ok_or(Errno::ENOENT)?;
        // What it has of the parent would become zeroes.
        refusal::check_snapshot(snapshot)?;
        let (id, size) = (snapshot.info.id, snapshot.info.size);
        let layout = self.image.identity.layout;
        let then = map_snapshots::of_snapshot(&self.image, rq, snapshot).await?;
        let told = self.image.told.load(Ordering::Acquire);
        self.resize(rq, head, size).await?;
        // QEMU does not ask for the length after this.
        self.image.told.fetch_max(told, Ordering::AcqRel);
        if let Some(map) = &head.map {
            // Without the map of then nothing is known of what will be there.
            let everything = ObjectMap::default();
            map.before_roll_back(&self.image, rq, then.as_ref().unwrap_or(&everything)).await?;
        }
        let context = &head.state.snap_context;
        let pool = Arc::new(self.image.reader.with_snapshots(context.seq(), context.ids())?);
        let count = layout.object_count(size);
        let names = Arc::new(self.image.identity.names.clone());
        let next = Arc::new(AtomicU64::new(0));
        // The library has no call for it that doesn't block.
        let workers = (0..ROLL_BACK_AT_A_TIME).map(|_| {
            let (pool, names, next) = (Arc::clone(&pool), Arc::clone(&names), Arc::clone(&next));
            spawn_blocking(rq, move || {
                let mut objects = iter::from_fn(|| {
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|object| *object < count)
                });
                objects.try_for_each(|object| {
                    pool.roll_back(names.name(object).as_c_str(), id).map_err(|errno| {
                        // The others stop, too.
                        next.store(count, Ordering::Relaxed);
                        (object, errno)
                    })
                })
            })
        });
        let mut result = Ok(());
        // All of them begin before the first one is waited for.
        for worker in workers.collect::<Vec<_>>() {
            let ended = |(object, errno)| self.image.ended(object, Err(errno));
            result = result.and(worker.await.and_then(|done| done.or_else(ended)));
        }
        result?;
        if let (Some(map), Some(then)) = (&head.map, &then) {
            map.after_roll_back(&self.image, rq, then).await?;
        }
        Ok(())
    }
}

/// The snapshot of that name that a user has made.
fn users_snapshot<'a>(snapshots: &'a [Snapshot], name: &[u8]) -> Option<&'a Snapshot> {
    snapshots.iter().find(|snapshot| snapshot.is_users() && snapshot.info.name == name)
}

/// The snapshot that had that name, is in the trash, and has no clone for which it would have to stay.
fn removed_snapshot<'a>(snapshots: &'a [Snapshot], name: &[u8]) -> Option<&'a Snapshot> {
    snapshots.iter().find(|snapshot| match &snapshot.info.kind {
        SnapshotKind::Trash { original_name, .. } => original_name == name && snapshot.info.child_count == 0,
        _ => false,
    })
}

/// Whether a snapshot can have that name.
fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.is_empty() {
        return Err(failed("create", name, Errno::EINVAL));
    }
    if name.len() >= NAME_SIZE {
        return Err(failed("create", name, Errno::ERANGE));
    }
    names::check_image(name)?;
    Ok(())
}

/// What goes wrong with a snapshot; a feature that stands against it has words of its own.
fn failed_by(what: &'static str, name: &[u8], error: Error) -> Error {
    match error {
        // Their words say more than any number.
        Error::Feature(_)
        | Error::LockHeld { .. }
        | Error::LockRefused { .. }
        | Error::LockLost
        | Error::Blocklist { .. }
        | Error::Fenced(_) => error,
        error => failed(what, name, error.errno()),
    }
}

/// What goes wrong with a snapshot.
fn failed(what: &'static str, name: &[u8], errno: Errno) -> Error {
    let snapshot = text(&CString::new(name).unwrap_or_default());
    Error::Snapshot { what, snapshot, errno }
}
