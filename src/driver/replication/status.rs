// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The status of a node, which requests and the main loop share.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use super::machine::{Gate, Mode, Stage, Status};
use crate::errno::Errno;

/// A [`Status`] in one word: each step of the machine is taken from the very status that it was decided on, whatever another
/// thread does meanwhile.
#[derive(Debug)]
pub(super) struct SharedStatus {
    mode: Mode,
    word: AtomicU32,
}

impl SharedStatus {
    /// That of a node that is not started.
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, word: AtomicU32::new(Word::new(Stage::None, None).0) }
    }

    /// As it is now.
    pub(super) fn now(&self) -> Status {
        self.with(Word(self.word.load(Ordering::Acquire)))
    }

    /// What becomes of requests.
    #[inline]
    pub(super) fn gate(&self) -> Gate {
        // Both sides pass them on while it runs, which is most of the time.
        let word = Word(self.word.load(Ordering::Acquire));
        if word.index() == Stage::Running.index() {
            return Gate::Open;
        }
        self.with(word).gate()
    }

    /// Takes a step of the machine. Any thread.
    pub(super) fn step(&self, next: impl Fn(Status) -> Status) {
        let Ok(()) = self.try_step(|now| Ok::<_, Infallible>(next(now)));
    }

    /// Takes a step of the machine, unless `next` says why not. Any thread; where another one is faster, `next` decides anew.
    pub(super) fn try_step<E>(&self, next: impl Fn(Status) -> Result<Status, E>) -> Result<(), E> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let next = next(self.with(Word(word)))?;
            let next = Word::new(next.stage, next.error);
            match self.word.compare_exchange_weak(word, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    fn with(&self, word: Word) -> Status {
        Status { mode: self.mode, stage: word.stage(), error: word.error() }
    }
}

/// What of a [`Status`] changes: the place of the stage in [`Stage::ALL`], and above it the error, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u32);

impl Word {
    const STAGE_BITS: u32 = 8;

    fn new(stage: Stage, error: Option<Errno>) -> Self {
        let code = error.map_or(0, |errno| errno.code().unsigned_abs());
        Self(code << Self::STAGE_BITS | u32::from(stage.index()))
    }

    fn index(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    fn stage(self) -> Stage {
        Stage::ALL.get(usize::from(self.index())).copied().unwrap_or(Stage::None)
    }

    fn error(self) -> Option<Errno> {
        match self.0 >> Self::STAGE_BITS {
            0 => None,
            code => Some(Errno::from_code(i32::try_from(code).unwrap_or(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::{End, StageError, Verdict};
    use super::*;
    use std::cell::Cell;

    #[test]
    fn word_keeps_stage_and_error() {
        for stage in Stage::ALL {
            for error in [None, Some(Errno::EIO), Some(Errno::from_code(4095))] {
                let word = Word::new(stage, error);
                assert_eq!((word.stage(), word.error()), (stage, error));
            }
        }
    }

    #[test]
    fn step_that_is_overtaken_is_decided_anew() {
        let status = SharedStatus::new(Mode::Secondary);
        status.step(Status::started);
        let seen = Cell::new(None);
        status.step(|now| {
            if seen.replace(Some(now.stage)).is_none() {
                status.step(Status::failing_over);
            }
            now.failed_over(Ok(()))
        });
        assert_eq!(seen.get(), Some(Stage::Failover));
        assert_eq!(status.now().stage, Stage::Done(End::FailedOver));
    }
    /// A primary that is stopped.
    fn stopped() -> SharedStatus {
        let status = SharedStatus::new(Mode::Primary);
        status.step(Status::started);
        status.step(Status::stopped);
        status
    }

    #[test]
    fn start_that_a_refused_write_overtakes_is_refused() {
        let status = stopped();
        let started = status.try_step(|now| {
            let verdict = now.start(Mode::Primary)?;
            status.step(|now| now.lost_change(Errno::EIO));
            assert_eq!(verdict, Verdict::Act);
            Ok(now.started())
        });
        assert_eq!(started, Err(StageError::Missed));
        assert_eq!(status.now().stage, Stage::Done(End::Missed));
    }

    #[test]
    fn write_that_was_refused_before_a_start_overtook_it_is_told() {
        let status = stopped();
        assert_eq!(status.gate(), Gate::Closed);
        status.step(Status::started);
        status.step(|now| now.lost_change(Errno::EIO));
        assert_eq!(status.now().get_error(), Err(StageError::Io(Errno::EIO)));
    }
}
