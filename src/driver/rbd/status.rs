// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Which parts of an image hold data. Runs in coroutines.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;
use super::format::calls::{self, Version};
use super::format::features::Features;
use super::format::lock;
use super::format::object_map::{ObjectMap, State};
use super::format::replies;
use super::format::striping::ObjectRange;
use super::image::Head;
use super::lookup::Kind;
use super::state::Rbd;
use super::window::{for_each, WINDOW};
use super::{map, map_snapshots};
use crate::errno::Errno;
use crate::host::Request;
use crate::range::ByteRange;

/// What the beginning of a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How far it reaches, in bytes.
    pub bytes: i64,
    /// Whether it reads as zeroes because nothing is there.
    pub zero: bool,
}

/// How long the main loop is kept waiting for the header to be read, as long as for closing.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// How many sets of objects one call looks at; the block layer asks again for the rest.
const MOST_SETS: u64 = 1024;

/// How long what the header says is taken for what it still says. In this time nobody can take the lock, note an object in the map
/// and write it: these are three changes, one after the other, and each is on all replicas before the next one begins.
const FRESH: Duration = Duration::from_micros(200);

/// An object map that was read without the lock.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    map: Arc<ObjectMap>,
    /// The header's version then: as long as it is the same nobody has had the lock since.
    version: u64,
    /// When the header was last asked, and had that version.
    asked: Instant,
}

/// Whether the header need not be asked again.
fn is_fresh(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < FRESH
}

impl Rbd {
    /// What the range holds: data where an object is, zeroes where none is. Without `want_zero` nobody asks where the zeroes are,
    /// and everything is data.
    ///
    /// # Errors
    /// The cluster's.
    // DIVERGES: found out object by object; the C driver takes an image without fast-diff for data all over. A range beyond the
    // end reads as zeroes; the C driver aborts.
    pub async fn block_status(
        &self,
        rq: &Request,
        want_zero: bool,
        range: ByteRange,
    ) -> Result<BlockStatus, Error> {
        let inside = range.truncate(self.image.size().saturating_sub(range.offset()));
        if inside.is_empty() {
            return Ok(BlockStatus { bytes: range.bytes(), zero: true });
        }
        self.image.check_gone()?;
        // The block layer counts in sectors, also where the image ends within one.
        let whole = |bytes: i64| if bytes == inside.bytes() { range.bytes() } else { bytes };
        if let Some(status) = self.status_by_map(rq, inside).await? {
            return Ok(BlockStatus { bytes: whole(status.bytes), ..status });
        }
        if !want_zero {
            return Ok(BlockStatus { bytes: range.bytes(), zero: false });
        }
        let layout = self.image.identity.layout;
        let set_size = i64::try_from(layout.set_size()).unwrap_or(i64::MAX);
        let (mut at, mut found) = (inside, None);
        for _ in 0..MOST_SETS {
            // From here to the end of the window's last set.
            let sets =
                i64::try_from(WINDOW).unwrap_or(1).checked_div(self.stripe_count()).unwrap_or(1).max(1);
            let in_set = at.offset().checked_rem(set_size).unwrap_or(0);
            let now = at.truncate(set_size.saturating_mul(sets).saturating_sub(in_set));
            for (bytes, zero) in self.sets(rq, now).await? {
                if found.is_some_and(|found| found != zero) {
                    let bytes = at.offset().saturating_sub(range.offset());
                    return Ok(BlockStatus { bytes: whole(bytes), zero: !zero });
                }
                found = Some(zero);
                at = at.advance(bytes);
            }
            if at.is_empty() {
                break;
            }
        }
        let bytes = at.offset().saturating_sub(range.offset());
        Ok(BlockStatus { bytes: whole(bytes), zero: found.unwrap_or(false) })
    }

    /// The same by the object map, if there is one that can be trusted: our own with the lock, a snapshot's, or that of an image
    /// whose lock nobody has.
    async fn status_by_map(&self, rq: &Request, range: ByteRange) -> Result<Option<BlockStatus>, Error> {
        let image = &self.image;
        if image.has_lock() {
            let head = image.gate.try_shared();
            let map = head.as_ref().and_then(|head| head.map.as_ref()).filter(|map| map.is_trusted());
            return Ok(map.map(|map| self.status_in(&map.states(), range)));
        }
        Ok(self.seen_map(rq).await?.map(|map| self.status_in(&map, range)))
    }

    /// The object map as it is without the lock, if that says something.
    async fn seen_map(&self, rq: &Request) -> Result<Option<Arc<ObjectMap>>, Error> {
        let image = &self.image;
        let Kind::Format2(id) = &image.kind else { return Ok(None) };
        if let Some(snapshot) = image.snapshot {
            return self.snapshot_map(rq, snapshot).await;
        }
        // Without a watch nobody would tell us of new features.
        if image.heard_handle().is_none() || !image.gate.try_shared().is_some_and(|head| has_map(&head)) {
            return Ok(None);
        }
        let asked = Instant::now();
        if let Some(seen) = self.seen().filter(|seen| is_fresh(seen.asked, asked)) {
            return Ok(Some(seen.map));
        }
        let Some(version) = self.quiet(rq).await? else { return Ok(None) };
        if let Some(seen) = self.seen().filter(|seen| seen.version == version) {
            return Ok(Some(self.keep_seen(Seen { asked, ..seen })));
        }
        let map = map::load_unlocked(image, rq, &id.object_map(None)).await?;
        // Whoever changes the map takes the lock before, and the header has another version then.
        let asked = Instant::now();
        if self.quiet(rq).await? != Some(version) {
            return Ok(None);
        }
        Ok(self.complete(map).map(|map| self.keep_seen(Seen { map, version, asked })))
    }

    /// The object map of the snapshot that is read. It never changes.
    async fn snapshot_map(&self, rq: &Request, id: u64) -> Result<Option<Arc<ObjectMap>>, Error> {
        if let Some(seen) = self.seen() {
            return Ok(Some(seen.map));
        }
        let Some(head) = self.image.gate.try_shared().filter(|head| has_map(head)) else { return Ok(None) };
        let snapshot = head.snapshots.iter().find(|snapshot| snapshot.info.id == id).cloned();
        drop(head);
        let Some(snapshot) = snapshot else { return Ok(None) };
        let map = map_snapshots::of_snapshot(&self.image, rq, &snapshot).await?;
        let seen = |map| Seen { map, version: 0, asked: Instant::now() };
        Ok(self.complete(map).map(|map| self.keep_seen(seen(map))))
    }

    /// The object map that was read last.
    fn seen(&self) -> Option<Seen> {
        self.image.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A map that says something about all objects.
    fn complete(&self, map: Option<ObjectMap>) -> Option<Arc<ObjectMap>> {
        let size = u64::try_from(self.image.size()).unwrap_or(0);
        let needed = self.image.identity.layout.object_count(size);
        map.filter(|map| map.len() >= needed).map(Arc::new)
    }

    /// Keeps a map for later.
    fn keep_seen(&self, seen: Seen) -> Arc<ObjectMap> {
        let map = Arc::clone(&seen.map);
        *self.image.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        map
    }

    /// The version of the header, if nobody has the lock and the map is not marked as wrong.
    async fn quiet(&self, rq: &Request) -> Result<Option<u64>, Error> {
        let image = &self.image;
        let calls = [calls::get_flags(Version::Head), lock::get_info()];
        let replies = image.finder(rq).ask(&image.header, &calls).await?;
        let is_valid = replies::flags(replies.bytes(0))?.object_map_is_valid();
        let is_free = lock::Info::decode(replies.bytes(1))?.lockers.is_empty();
        Ok((is_valid && is_free).then(|| replies.version()))
    }

    /// Whether an object that isn't there is known to be a hole, and not missing because a snapshot is gone.
    pub(super) fn is_hole(&self, object: u64) -> bool {
        if self.image.check_gone().is_err() {
            return false;
        }
        self.image.snapshot.is_none()
            || self.seen().is_some_and(|seen| seen.map.state(object) == Some(State::Absent))
    }

    /// Makes sure that objects that aren't there are holes.
    pub(super) async fn check_holes(&self, rq: &Request) -> Result<(), Error> {
        self.image.check_there(rq).await?;
        // So that the next one is known to be a hole.
        if self.image.snapshot.is_some() {
            self.seen_map(rq).await?;
        }
        Ok(())
    }

    /// How far a range is alike in a map.
    fn status_in(&self, map: &ObjectMap, range: ByteRange) -> BlockStatus {
        let layout = self.image.identity.layout;
        let set_size = i64::try_from(layout.set_size()).unwrap_or(i64::MAX);
        let count = layout.stripe_count();
        // A set of objects is zero if none of those that the range touches is there.
        let is_zero = |part: ByteRange| {
            let absent = |object| map.state(object) == Some(State::Absent);
            if count == 1 {
                return absent(layout.locate(u64::try_from(part.offset()).unwrap_or(0)).0);
            }
            layout.objects(part).all(|object| absent(object.object))
        };
        let part_of = |rest: ByteRange| {
            rest.truncate(set_size.saturating_sub(rest.offset().checked_rem(set_size).unwrap_or(0)))
        };
        let zero = is_zero(part_of(range));
        let mut rest = range;
        while !rest.is_empty() && is_zero(part_of(rest)) == zero {
            rest = rest.advance(part_of(rest).bytes());
        }
        BlockStatus { bytes: rest.offset().saturating_sub(range.offset()), zero }
    }

    /// Reads the header, as after a migration. QEMU asks for the length right afterwards, and takes what is behind it for zeroes; so
    /// it must not be an old one, also not because a watch has broken, or what it told could not be read.
    ///
    /// # Errors
    /// `ETIMEDOUT` if it can't be read in [`REFRESH_TIMEOUT`]. The node stays inactive then, and is made active by another attempt.
    pub fn invalidate_cache(&self) -> Result<(), Error> {
        let image = &self.image;
        image.header_changed();
        // Blocks: while the main loop runs, requests get through to a node that QEMU has not made active yet, and abort it.
        if image.lookout.wait_for_header(REFRESH_TIMEOUT) && !image.stale.load(Ordering::Acquire) {
            return Ok(());
        }
        let errno = Errno::from_code(libc::ETIMEDOUT);
        Err(Error::Open { image: image.text(), what: "reading its header again", errno })
    }

    /// How many objects share a stripe.
    fn stripe_count(&self) -> i64 {
        i64::try_from(self.image.identity.layout.stripe_count()).unwrap_or(i64::MAX)
    }

    /// Of each set of objects in a range: how many bytes of the range it has, and whether none of its objects is there.
    async fn sets(&self, rq: &Request, range: ByteRange) -> Result<Vec<(i64, bool)>, Error> {
        let identity = &self.image.identity;
        let mut sets: Vec<(u64, i64, bool)> = Vec::new();
        let missing = Cell::new(false);
        let mut note = |object: &ObjectRange, absent: bool| {
            let number = object.object.checked_div(identity.layout.stripe_count()).unwrap_or(0);
            let bytes = i64::try_from(object.length).unwrap_or(0);
            match sets.last_mut() {
                Some((last, length, zero)) if *last == number => {
                    (*length, *zero) = (length.saturating_add(bytes), *zero && absent);
                }
                _ => sets.push((number, bytes, absent)),
            }
        };
        let start = |object: &ObjectRange| {
            let name = identity.names.name(object.object);
            Ok(self.image.reader.exists(rq, name.as_c_str()))
        };
        let landed = |object: &ObjectRange, ret| match Errno::check(ret) {
            Ok(_) => {
                note(object, false);
                Ok(())
            }
            Err(errno) if errno == Errno::ENOENT => {
                missing.set(missing.get() || !self.is_hole(object.object));
                note(object, true);
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        for_each(rq, identity.layout.objects(range), start, landed).await?;
        if missing.get() {
            self.check_holes(rq).await?;
        }
        Ok(sets.into_iter().map(|(_, bytes, zero)| (bytes, zero)).collect())
    }
}

/// Whether the image has an object map.
fn has_map(head: &Head) -> bool {
    head.state.features.contains(Features::OBJECT_MAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_header_said_is_believed_for_less_than_three_changes_take() {
        let asked = Instant::now();
        assert!(is_fresh(asked, asked + FRESH / 2));
        assert!(!is_fresh(asked, asked + FRESH));
    }
}
