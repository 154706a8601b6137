// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What every change of data has around it: the end of the image, the gate with the lock, and the object map. Runs in coroutines, on
//! any thread.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::error::Error;
use super::format::object_map::State;
use super::format::striping::ObjectRange;
use super::image::Head;
use super::state::Rbd;
use crate::backend::rados::Operation;
use crate::errno::Errno;
use crate::host::Request;

/// An object has to be noted in the object map first. The library never answers this: it tries again by itself.
pub(super) const NOT_NOTED: Errno = Errno::EAGAIN;
/// How often a change begins again because its objects are being removed meanwhile.
const MAX_TRIES: u32 = 1000;

impl Rbd {
    /// Makes the image larger if it ends before `end`, passes the gate, and does what needs the lock; begins again if that was lost
    /// meanwhile.
    pub(super) async fn inside(
        &self,
        rq: &Request,
        end: i64,
        change: impl AsyncFn(&Head) -> Result<(), Error>,
    ) -> Result<(), Error> {
        again_without_the_lock(async || {
            self.grow_to(rq, end).await?;
            let head = self.image.enter(rq).await?;
            if end > self.image.size() {
                // Another client had the lock meanwhile, and has made the image smaller.
                return Err(Error::LockLost);
            }
            change(&head).await
        })
        .await
    }

    /// Makes the image larger if it ends before `end`.
    async fn grow_to(&self, rq: &Request, end: i64) -> Result<(), Error> {
        if end <= self.image.size() {
            return Ok(());
        }
        // DIVERGES: a smaller image stays so. This is within what QEMU takes for the image, so another client has cut it.
        if end <= self.image.told.load(Ordering::Acquire) {
            return Err(Errno::EINVAL.into());
        }
        self.grow(rq, end).await
    }

    /// Does what changes objects but leaves them there, once the object map knows of them; with `only_there` only of those that
    /// are there. `objects` are all of them, each time.
    pub(super) async fn change_objects<O: Iterator<Item = ObjectRange>>(
        &self,
        rq: &Request,
        head: &Head,
        objects: impl Fn() -> O,
        only_there: bool,
        change: impl AsyncFn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A removal in between makes it begin again, which is rare; nothing does that for ever.
        for _ in 0..MAX_TRIES {
            self.note_objects(rq, head, &objects, only_there).await?;
            let numbers = || objects().map(|object| object.object);
            let _flight = head.map.as_ref().map(|map| map.take_off(numbers));
            match change().await {
                Err(Error::Errno(errno)) if errno == NOT_NOTED => {}
                done => return done,
            }
        }
        Err(Errno::EIO.into())
    }

    /// Sees to it that the object map knows of objects that are about to be written; with `only_there` not of those that aren't
    /// there.
    async fn note_objects<O: Iterator<Item = ObjectRange>>(
        &self,
        rq: &Request,
        head: &Head,
        objects: impl Fn() -> O,
        only_there: bool,
    ) -> Result<(), Error> {
        let Some(map) = &head.map else { return Ok(()) };
        let unknown = |object: &ObjectRange| {
            let state = map.states().state(object.object);
            state != Some(State::Exists) && !(only_there && map.is_absent(object.object))
        };
        let mut run: Option<Range<u64>> = None;
        for object in objects().filter(unknown).map(|object| object.object) {
            match &mut run {
                Some(run) if run.end == object => run.end = object.saturating_add(1),
                run => {
                    let before = run.replace(object..object.saturating_add(1));
                    if let Some(before) = before {
                        map.note(&self.image, rq, before).await?;
                    }
                }
            }
        }
        match run {
            Some(run) => map.note(&self.image, rq, run).await,
            None => Ok(()),
        }
    }

    /// Submits a change of an object that leaves it there, if the object map knows of it.
    pub(super) fn change_noted(
        head: &Head,
        object: &ObjectRange,
        submit: impl FnOnce() -> Result<Operation, Errno>,
    ) -> Result<Operation, Errno> {
        let Some(map) = &head.map else { return submit() };
        let states = map.states();
        if states.state(object.object) != Some(State::Exists) {
            return Err(NOT_NOTED);
        }
        // Under the lock of the states: no removal of this object has begun.
        let submitted = submit();
        drop(states);
        submitted
    }
}

/// Does what needs the lock, and begins again if that was lost meanwhile.
pub(super) async fn again_without_the_lock(
    attempt: impl AsyncFn() -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..MAX_TRIES {
        match attempt().await {
            Err(Error::LockLost) => {}
            done => return done,
        }
    }
    Err(Errno::EIO.into())
}
