// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The object map of the image as it is now, kept by the holder of the lock. Source: RBD format document, section 13.
//!
//! The map may say that an object is there that isn't, never the other way round. So an object is noted before its first write,
//! and forgotten after its removal; what can't be noted makes the map invalid instead of wrong. A write looks at the map and is
//! submitted under one lock of the states, which a removal takes for itself before it begins: a write that has seen an object
//! there is on its way before the removal. That one counts it as there if it may overtake it.

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{ignore, Error};
use super::format::calls;
use super::format::features::Flags;
use super::format::lock;
use super::format::object_map::{self, ObjectMap, State};
use super::image::{Head, Image};
use super::io::acknowledged;
use super::lookup::{Finder, Kind};
use crate::backend::rados::WriteOp;
use crate::errno::Errno;
use crate::host::{Request, Signal};

/// How many places there are to count writes in flight: enough for most requests to have one of their own.
const PLACES: usize = 1024;
/// How many objects one operation changes at most.
const CHUNK: u64 = 262_144;
/// Both of what can be wrong with a map.
pub(super) const INVALID: Flags = Flags(Flags::OBJECT_MAP_INVALID | Flags::FAST_DIFF_INVALID);

/// The map.
#[derive(Debug)]
pub(super) struct Map {
    object: CString,
    states: RwLock<ObjectMap>,
    /// Whether it says what isn't there.
    trusted: AtomicBool,
    /// Ranges of objects that are being changed.
    busy: Mutex<Busy>,
    /// How many writes are in flight, by the last digits of the numbers of their objects.
    in_flight: Box<[AtomicU32; PLACES]>,
}

/// Who is changing what.
#[derive(Debug, Default)]
struct Busy {
    ranges: Vec<Range<u64>>,
    /// Those who wait for a range; each looks again when its signal is dropped.
    waiting: Vec<Signal>,
}

/// Writes of objects that are in flight, until this is dropped.
#[derive(Debug)]
pub(super) struct Flight<'a, O: Iterator<Item = u64>, F: Fn() -> O> {
    map: &'a Map,
    objects: F,
}

impl<O: Iterator<Item = u64>, F: Fn() -> O> Drop for Flight<'_, O, F> {
    fn drop(&mut self) {
        for object in (self.objects)() {
            self.map.place(object).fetch_sub(1, Ordering::Release);
        }
    }
}

/// Being the only one to change a range of objects.
struct Claim<'a> {
    map: &'a Map,
    range: Range<u64>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.map.busy();
        if let Some(index) = busy.ranges.iter().position(|range| *range == self.range) {
            busy.ranges.swap_remove(index);
        }
        let waiting = std::mem::take(&mut busy.waiting);
        drop(busy);
        drop(waiting);
    }
}

impl Map {
    /// Locks and loads the map, by the new holder of the image's lock. `None` if there is none to be had; it is marked invalid then.
    pub(super) async fn load(image: &Image, rq: &Request, head: &mut Head) -> Result<Option<Self>, Error> {
        let Kind::Format2(id) = &image.kind else { return Ok(None) };
        let object = id.object_map(None);
        let needed = needed(image, head);
        let finder = image.finder(rq);
        let mut trusted = head.state.flags.object_map_is_valid();
        let states = match load_locked(&finder, &object).await {
            Ok(Some(states)) if states.len() >= needed => Ok(states),
            // Who has the map's lock has the image's, too; or this client was shut out.
            Err(errno) if errno == Errno::EBUSY || errno.code() == libc::ESHUTDOWN => {
                return Err(image.noted(errno).into());
            }
            // What is there can't be right: everything may exist.
            wrong => {
                invalidate(image, rq).await?;
                trusted = false;
                match wrong {
                    Ok(states) => remake(image, rq, &object, needed, states.is_none()).await,
                    Err(errno) => Err(errno),
                }
            }
        };
        match states {
            Ok(states) => Ok(Some(Self {
                object,
                states: RwLock::new(states),
                trusted: AtomicBool::new(trusted),
                busy: Mutex::new(Busy::default()),
                in_flight: Box::new([const { AtomicU32::new(0) }; PLACES]),
            })),
            Err(errno) if errno.code() == libc::ESHUTDOWN => Err(image.noted(errno).into()),
            Err(_) => {
                // Whoever mends it may need the lock.
                ignore(finder.call(&object, &lock::unlock(b"")).await);
                Ok(None)
            }
        }
    }

    /// The object with the map.
    pub(super) fn object(&self) -> &CStr {
        &self.object
    }

    /// The states, to be looked at.
    pub(super) fn states(&self) -> RwLockReadGuard<'_, ObjectMap> {
        self.states.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The states, to be changed.
    pub(super) fn states_mut(&self) -> RwLockWriteGuard<'_, ObjectMap> {
        self.states.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what the map says isn't there isn't there.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// Another client has marked the map as wrong.
    pub(super) fn distrust(&self) {
        self.trusted.store(false, Ordering::Release);
    }

    /// Whether an object is known not to be there.
    pub(super) fn is_absent(&self, object: u64) -> bool {
        self.is_trusted() && self.states().state(object) == Some(State::Absent)
    }

    /// Notes that objects are about to be written.
    pub(super) async fn note(&self, image: &Image, rq: &Request, range: Range<u64>) -> Result<(), Error> {
        let claim = self.claim(rq, range).await?;
        self.update(image, rq, &claim.range, State::Exists, None).await
    }

    /// Notes that writes of objects are about to be submitted, before each looks at the state of its object. They are asked for again
    /// when the writes have ended, and must be the same then: so not chosen by what the map says.
    pub(super) fn take_off<O: Iterator<Item = u64>, F: Fn() -> O>(&self, objects: F) -> Flight<'_, O, F> {
        for object in objects() {
            self.place(object).fetch_add(1, Ordering::Relaxed);
        }
        Flight { map: self, objects }
    }

    /// Where writes of an object are counted, and those of some others.
    fn place(&self, object: u64) -> &AtomicU32 {
        let place = usize::try_from(object).unwrap_or(usize::MAX) % PLACES;
        #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
        &self.in_flight[place]
    }

    /// Whether a write of any of these objects may be in flight.
    fn is_any_in_flight(&self, objects: &Range<u64>) -> bool {
        objects.clone().take(PLACES).any(|object| self.place(object).load(Ordering::Acquire) > 0)
    }

    /// Removes objects with `remove`: they are pending before, and absent afterwards. In a full pool a removal is done at once, while
    /// a write that was sent before waits for space, and makes the object again: then it counts as there.
    pub(super) async fn removing(
        &self,
        image: &Image,
        rq: &Request,
        range: Range<u64>,
        remove: impl AsyncFnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let claim = self.claim(rq, range).await?;
        self.update(image, rq, &claim.range, State::Pending, Some(State::Exists)).await?;
        // From here on no write of theirs begins.
        let overtakes = self.is_any_in_flight(&claim.range);
        remove().await?;
        let new = if overtakes { State::Exists } else { State::Absent };
        self.update(image, rq, &claim.range, new, Some(State::Pending)).await
    }

    /// Waits until nobody else changes any of these objects.
    async fn claim(&self, rq: &Request, range: Range<u64>) -> Result<Claim<'_>, Errno> {
        loop {
            let mut claimed = false;
            let turn = rq.submit(|token| {
                let mut busy = self.busy();
                let signal = token.signal();
                let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
                if busy.ranges.iter().any(overlaps) {
                    busy.waiting.push(signal);
                } else {
                    busy.ranges.push(range.clone());
                    claimed = true;
                    drop(busy);
                    drop(signal);
                }
                Ok(())
            });
            turn.await?;
            if claimed {
                return Ok(Claim { map: self, range });
            }
        }
    }

    /// Changes the states of objects that the caller has claimed: in the cluster, then here.
    async fn update(
        &self,
        image: &Image,
        rq: &Request,
        range: &Range<u64>,
        new: State,
        current: Option<State>,
    ) -> Result<(), Error> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(CHUNK));
            let needed = (start..end).any(|object| changes(self.states().state(object), new, current));
            if needed {
                let call = object_map::update(start, end, new, current);
                self.guarded(image, rq, WriteOp::new()?, &call).await?;
                let mut states = self.states_mut();
                for object in start..end {
                    if changes(states.state(object), new, current) {
                        states.set(object, new);
                    }
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Has the map's object do something, if the lock is ours: [`Error::LockLost`]. What fails otherwise makes the map invalid: it may
    /// still be done.
    pub(super) async fn guarded(
        &self,
        image: &Image,
        rq: &Request,
        op: WriteOp,
        call: &calls::Call,
    ) -> Result<(), Error> {
        match self.locked(image, rq, op, call).await? {
            Ok(()) => Ok(()),
            Err(_) => self.invalidate(image, rq).await,
        }
    }

    /// Has the map's object do something, if the lock is ours: [`Error::LockLost`]. The inner result is its answer.
    async fn locked(
        &self,
        image: &Image,
        rq: &Request,
        op: WriteOp,
        call: &calls::Call,
    ) -> Result<Result<(), Errno>, Error> {
        let assert = lock::assert_locked(b"", b"");
        let op = op.exec(assert.class(), assert.method(), assert.input());
        let op = op.exec(call.class(), call.method(), call.input());
        match image.meta.change(rq, &self.object, op).await.and_then(Errno::check) {
            Err(errno) if errno == Errno::EBUSY => {
                image.lose_lock();
                Err(Error::LockLost)
            }
            Err(errno) if errno.code() == libc::ESHUTDOWN => Err(image.noted(errno).into()),
            answer => Ok(answer.map(drop)),
        }
    }

    /// Gives the map another number of objects. Those that go have to be absent, those that come are. In a full pool it stays as
    /// it is: [`is_full`].
    pub(super) async fn resize(&self, image: &Image, rq: &Request, count: u64) -> Result<(), Error> {
        if count == self.states().len() {
            return Ok(());
        }
        match self.locked(image, rq, WriteOp::new()?, &object_map::resize(count, State::Absent)).await? {
            Ok(()) => {}
            // DIVERGES: no space for a larger object map is an error at once; the C driver waits for space.
            Err(errno) if is_full(errno) => return Err(errno.into()),
            Err(_) => self.invalidate(image, rq).await?,
        }
        if self.states_mut().resize(count, State::Absent) {
            Ok(())
        } else {
            Err(Errno::EFBIG.into())
        }
    }

    /// Marks the map invalid, for everybody. If that fails, too, nobody knows what it says.
    pub(super) async fn invalidate(&self, image: &Image, rq: &Request) -> Result<(), Error> {
        self.distrust();
        invalidate(image, rq).await.inspect_err(|_| image.doubt())
    }
}

/// A map, without its lock; `None` if there is none that can be read.
pub(super) async fn load_unlocked(
    image: &Image,
    rq: &Request,
    object: &CStr,
) -> Result<Option<ObjectMap>, Error> {
    match image.finder(rq).ask(object, &[object_map::load()]).await {
        Ok(replies) => Ok(ObjectMap::decode(replies.bytes(0)).ok()),
        Err(errno) if errno.code() == libc::ESHUTDOWN => Err(image.noted(errno).into()),
        Err(_) => Ok(None),
    }
}

/// Whether there is no space for something new in the pool, by its size or by its quota. Nothing was changed then.
pub(super) fn is_full(errno: Errno) -> bool {
    [libc::ENOSPC, libc::EDQUOT].contains(&errno.code())
}

/// Whether an update makes a difference to an object. "Exists" stands for "exists unchanged", too, as in the cluster.
fn changes(state: Option<State>, new: State, current: Option<State>) -> bool {
    let Some(state) = state else { return false };
    let matches = match current {
        None => true,
        Some(State::Exists) => matches!(state, State::Exists | State::Clean),
        Some(current) => state == current,
    };
    matches && state != new
}

/// How many objects the map must have.
fn needed(image: &Image, head: &Head) -> u64 {
    image.identity.layout.object_count(u64::try_from(head.state.size).unwrap_or(0))
}

/// Marks the map invalid, for everybody.
async fn invalidate(image: &Image, rq: &Request) -> Result<(), Error> {
    let marked = image.call_header(rq, &calls::set_flags(INVALID, INVALID)).await;
    Ok(marked.map_err(|errno| image.noted(errno))?)
}

/// Locks the map and reads it; `None` if it is damaged.
async fn load_locked(finder: &Finder<'_>, object: &CStr) -> Result<Option<ObjectMap>, Errno> {
    lock_map(finder, object).await?;
    match finder.ask(object, &[object_map::load()]).await {
        Ok(replies) => Ok(ObjectMap::decode(replies.bytes(0)).ok()),
        Err(errno) if errno == Errno::EINVAL => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Takes the lock of the map. Only the holder of the image's lock comes here, so whoever has it is gone.
async fn lock_map(finder: &Finder<'_>, object: &CStr) -> Result<(), Errno> {
    let mut again = true;
    loop {
        match finder.call(object, &lock::lock(b"", b"")).await {
            Err(errno) if errno == Errno::EEXIST => return Ok(()),
            Err(errno) if errno == Errno::EBUSY && again => {
                again = false;
                let replies = finder.ask(object, &[lock::get_info()]).await?;
                let info = lock::Info::decode(replies.bytes(0)).map_err(|_| Errno::EIO)?;
                for locker in info.lockers {
                    match finder.call(object, &lock::break_lock(locker.entity, &locker.cookie)).await {
                        Err(errno) if errno != Errno::ENOENT => return Err(errno),
                        _ => {}
                    }
                }
            }
            done => return done,
        }
    }
}

/// Makes a map of which nothing is known: everything may exist.
async fn remake(
    image: &Image,
    rq: &Request,
    object: &CStr,
    count: u64,
    is_damaged: bool,
) -> Result<ObjectMap, Errno> {
    let mut op = WriteOp::new()?;
    if is_damaged {
        op = op.truncate(0);
    }
    let call = object_map::resize(count, State::Exists);
    let op = op.exec(call.class(), call.method(), call.input());
    acknowledged(image.meta.change(rq, object, op).await?)?;
    let mut map = ObjectMap::default();
    if map.resize(count, State::Exists) {
        Ok(map)
    } else {
        Err(Errno::EFBIG)
    }
}
