// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The stages of a replication: what is allowed in which, and what comes next. No I/O, no host.

use crate::errno::Errno;

/// The side of a replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its guest's writes are passed on.
    Primary,
    /// Its disk receives them.
    Secondary,
}

impl Mode {
    /// The number that messages give to it.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Primary => 0,
            Self::Secondary => 1,
        }
    }
}

/// How a replication has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was stopped, on a secondary without a failover.
    Stopped,
    /// A primary was stopped, and its secondary has missed changes since then or before.
    Missed,
    /// The secondary has taken over, and its disk is the only one.
    FailedOver,
}

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not started.
    None,
    /// The secondary's disk follows the primary's.
    Running,
    /// The secondary's own writes are moved to its disk.
    Failover,
    /// They could not be moved.
    FailoverFailed,
    /// It is over.
    Done(End),
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Running,
        Self::Failover,
        Self::FailoverFailed,
        Self::Done(End::Stopped),
        Self::Done(End::Missed),
        Self::Done(End::FailedOver),
    ];

    /// The place in [`Stage::ALL`].
    #[must_use]
    pub fn index(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Running => 1,
            Self::Failover => 2,
            Self::FailoverFailed => 3,
            Self::Done(End::Stopped) => 4,
            Self::Done(End::Missed) => 5,
            Self::Done(End::FailedOver) => 6,
        }
    }
}

/// What is to be done about an operation that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it isn't about this node any more.
    Ignore,
    /// What was asked for.
    Act,
}

/// Why an operation is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// It was not started, or its failover failed.
    #[error("Block replication is not running")]
    NotRunning,
    /// A start of what is running, or of what has failed.
    #[error("Block replication is running or done")]
    Running,
    /// A start as what it is not.
    #[error("The parameter mode's value is invalid, needs {needs}, but got {got}")]
    Mode {
        /// The number of the node's own mode.
        needs: u32,
        /// The number of the mode that was asked for.
        got: u32,
    },
    /// A start of a secondary that has taken over.
    #[error(
        "Block replication can't start as secondary: the node has failed over, and the active and hidden disks are merged \
         into the secondary disk; to go on, open a new node over new active and hidden disks"
    )]
    FailedOver,
    /// A start of a secondary that is taking over.
    #[error("Block replication can't start as secondary: its failover is still running")]
    FailingOver,
    /// A start of a primary whose secondary has not got all changes.
    #[error(
        "Block replication can't start as primary: the secondary has missed writes, as they failed or came while the replication \
         was stopped; copy the disk to the secondary, and put a new replication node in the place of this one"
    )]
    Missed,
    /// There is nothing that copies what is overwritten.
    #[error("Backup job was cancelled unexpectedly")]
    NoBackup,
    /// A write was lost, or the copying has ended.
    #[error("I/O error occurred: {0}")]
    Io(Errno),
    /// A failover has failed.
    #[error("I/O error occurred: the failover failed: {0}")]
    Failover(Errno),
}

/// What requests are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Fail.
    Closed,
    /// Go to the filtered disk.
    Open,
    /// Go to it where it, or the hidden disk, has something; else to the secondary disk.
    Split,
}

/// A node as far as it matters to what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The side.
    pub mode: Mode,
    /// Where it is.
    pub stage: Stage,
    /// The first failure since the start; those of checkpoints are forgotten when one succeeds.
    pub error: Option<Errno>,
}

impl Status {
    /// Whether the replication may be started as `wanted`.
    ///
    /// # Errors
    /// Why not.
    pub fn start(self, wanted: Mode) -> Result<Verdict, StageError> {
        let is_own = self.mode == wanted;
        match (self.mode, self.stage) {
            (_, Stage::Running | Stage::FailoverFailed) => Err(StageError::Running),
            (mode, Stage::None) if !is_own => {
                Err(StageError::Mode { needs: mode.number(), got: wanted.number() })
            }
            // DIVERGES: a replication that was stopped can be started again; in the C driver that does nothing.
            (_, Stage::None | Stage::Done(End::Stopped)) if is_own => Ok(Verdict::Act),
            // DIVERGES: a primary whose secondary has missed writes can't be started; it would say that all is well.
            (Mode::Primary, Stage::Done(End::Missed)) if is_own => Err(StageError::Missed),
            // DIVERGES: a secondary that has failed over says why it can't start; in the C driver that does nothing.
            (Mode::Secondary, Stage::Failover) if is_own => Err(StageError::FailingOver),
            (Mode::Secondary, Stage::Done(End::FailedOver)) if is_own => Err(StageError::FailedOver),
            // A secondary that has taken over is in the process of what is a primary now.
            _ => Ok(Verdict::Ignore),
        }
    }

    /// Whether there is something to do for a checkpoint. `has_backup`: whether what is overwritten is still copied.
    ///
    /// # Errors
    /// If there should be.
    pub fn checkpoint(self, has_backup: bool) -> Result<Verdict, StageError> {
        match (self.mode, self.stage) {
            (Mode::Primary, _) | (_, Stage::Failover | Stage::Done(_)) => Ok(Verdict::Ignore),
            (Mode::Secondary, Stage::Running) if has_backup => Ok(Verdict::Act),
            (Mode::Secondary, Stage::None | Stage::Running | Stage::FailoverFailed) => {
                Err(StageError::NoBackup)
            }
        }
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// What is not.
    pub fn get_error(self) -> Result<(), StageError> {
        // DIVERGES: the status says what went wrong, and of several errors the first; the C driver says that there was one.
        match (self.stage, self.error) {
            (Stage::None, _) => Err(StageError::NotRunning),
            (Stage::FailoverFailed, error) => Err(StageError::Failover(error.unwrap_or(Errno::EIO))),
            (_, Some(errno)) => Err(StageError::Io(errno)),
            (_, None) => Ok(()),
        }
    }

    /// Whether the replication may be stopped.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(self, failover: bool) -> Result<Verdict, StageError> {
        match self.stage {
            Stage::Running => Ok(Verdict::Act),
            Stage::Failover | Stage::Done(_) => Ok(Verdict::Ignore),
            // DIVERGES: a failover that has failed is passed over by another, which is for the other nodes of the process; QEMU's
            // core ends with the first error.
            Stage::FailoverFailed if failover => Ok(Verdict::Ignore),
            Stage::None | Stage::FailoverFailed => Err(StageError::NotRunning),
        }
    }

    /// What becomes of requests.
    #[must_use]
    pub fn gate(self) -> Gate {
        match (self.mode, self.stage) {
            (_, Stage::Running) | (Mode::Secondary, Stage::Failover | Stage::Done(_)) => Gate::Open,
            (Mode::Secondary, Stage::FailoverFailed) => Gate::Split,
            (Mode::Primary, _) | (_, Stage::None) => Gate::Closed,
        }
    }

    /// The replication has been started.
    #[must_use]
    pub fn started(self) -> Self {
        Self { stage: Stage::Running, error: None, ..self }
    }

    /// It has been stopped, on a secondary without a failover.
    #[must_use]
    pub fn stopped(self) -> Self {
        let end = match (self.mode, self.error) {
            (Mode::Primary, Some(_)) => End::Missed,
            _ => End::Stopped,
        };
        // DIVERGES: a plain stop of a secondary clears the latch; the C driver sets it for good.
        Self { stage: Stage::Done(end), error: None, ..self }
    }

    /// The failover begins.
    #[must_use]
    pub fn failing_over(self) -> Self {
        // DIVERGES: no error is told while the failover runs, unless there was one before; the C driver tells one until it
        // is over.
        Self { stage: Stage::Failover, ..self }
    }

    /// The failover is over.
    #[must_use]
    pub fn failed_over(self, result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self { stage: Stage::Done(End::FailedOver), error: None, ..self },
            Err(errno) => Self { stage: Stage::FailoverFailed, error: Some(errno), ..self },
        }
    }

    /// Something that was asked for while it runs could not be done, and it goes on.
    #[must_use]
    pub fn failed(self, errno: Errno) -> Self {
        match self.stage {
            Stage::Running => Self { error: self.error.or(Some(errno)), ..self },
            _ => self,
        }
    }

    /// A checkpoint was made, or has failed half-way.
    #[must_use]
    pub fn checkpointed(self, result: Result<(), Errno>) -> Self {
        match (self.stage, result) {
            (Stage::Running, Ok(())) => Self { error: None, ..self },
            // DIVERGES: a checkpoint that fails half-way is remembered until one succeeds; in the C driver nothing tells of it.
            (_, Err(errno)) => self.failed(errno),
            _ => self,
        }
    }

    /// A change of a primary did not reach the secondary; it may have been stopped, or started, since the change began.
    #[must_use]
    pub fn lost_change(self, errno: Errno) -> Self {
        match (self.mode, self.stage) {
            (Mode::Primary, Stage::Running) => self.failed(errno),
            (Mode::Primary, Stage::Done(End::Stopped)) => Self { stage: Stage::Done(End::Missed), ..self },
            // What comes before the first start is in the disk that the secondary begins with.
            _ => self,
        }
    }

    /// The copying has ended by itself.
    #[must_use]
    pub fn lost_backup(self) -> Self {
        self.failed(Errno::EIO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: Stage = Stage::Done(End::Stopped);
    const MISSED: Stage = Stage::Done(End::Missed);
    const OVER: Stage = Stage::Done(End::FailedOver);
    const ACT: Result<Verdict, StageError> = Ok(Verdict::Act);
    const IGNORE: Result<Verdict, StageError> = Ok(Verdict::Ignore);

    fn status(mode: Mode, stage: Stage) -> Status {
        Status { mode, stage, error: None }
    }

    /// Checks an operation in all stages, in the order of [`Stage::ALL`].
    fn check<T: PartialEq + std::fmt::Debug>(mode: Mode, op: impl Fn(Status) -> T, expected: [T; 7]) {
        for (stage, expected) in Stage::ALL.into_iter().zip(expected) {
            assert_eq!(op(status(mode, stage)), expected, "{mode:?} {stage:?}");
        }
    }

    #[test]
    fn index_is_the_place_among_all_stages() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(stage.index()), index);
        }
    }

    #[test]
    fn start_of_a_primary_in_each_stage() {
        let (running, missed) = (Err(StageError::Running), Err(StageError::Missed));
        let expected = [ACT, running, IGNORE, running, ACT, missed, IGNORE];
        check(Mode::Primary, |s| s.start(Mode::Primary), expected);
        let wrong = Err(StageError::Mode { needs: 0, got: 1 });
        let expected = [wrong, running, IGNORE, running, IGNORE, IGNORE, IGNORE];
        check(Mode::Primary, |s| s.start(Mode::Secondary), expected);
    }

    #[test]
    fn start_of_a_secondary_in_each_stage() {
        let running = Err(StageError::Running);
        let (failing, over) = (Err(StageError::FailingOver), Err(StageError::FailedOver));
        let expected = [ACT, running, failing, running, ACT, IGNORE, over];
        check(Mode::Secondary, |s| s.start(Mode::Secondary), expected);
        let wrong = Err(StageError::Mode { needs: 1, got: 0 });
        let expected = [wrong, running, IGNORE, running, IGNORE, IGNORE, IGNORE];
        check(Mode::Secondary, |s| s.start(Mode::Primary), expected);
    }

    #[test]
    fn checkpoint_in_each_stage() {
        let none = Err(StageError::NoBackup);
        for has_backup in [false, true] {
            check(Mode::Primary, |s| s.checkpoint(has_backup), [IGNORE; 7]);
        }
        check(Mode::Secondary, |s| s.checkpoint(true), [none, ACT, IGNORE, none, IGNORE, IGNORE, IGNORE]);
        check(Mode::Secondary, |s| s.checkpoint(false), [none, none, IGNORE, none, IGNORE, IGNORE, IGNORE]);
    }

    #[test]
    fn get_error_in_each_stage() {
        let failed = Err(StageError::Failover(Errno::EIO));
        for mode in [Mode::Primary, Mode::Secondary] {
            check(
                mode,
                Status::get_error,
                [Err(StageError::NotRunning), Ok(()), Ok(()), failed, Ok(()), Ok(()), Ok(())],
            );
            let io = Err(StageError::Io(Errno::ENOMEM));
            let failed = Err(StageError::Failover(Errno::ENOMEM));
            check(
                mode,
                |s| Status { error: Some(Errno::ENOMEM), ..s }.get_error(),
                [Err(StageError::NotRunning), io, io, failed, io, io, io],
            );
        }
    }

    #[test]
    fn stop_in_each_stage() {
        let not = Err(StageError::NotRunning);
        for mode in [Mode::Primary, Mode::Secondary] {
            check(mode, |s| s.stop(false), [not, ACT, IGNORE, not, IGNORE, IGNORE, IGNORE]);
            check(mode, |s| s.stop(true), [not, ACT, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE]);
        }
    }

    #[test]
    fn gate_in_each_stage() {
        let (closed, open) = (Gate::Closed, Gate::Open);
        check(Mode::Primary, Status::gate, [closed, open, closed, closed, closed, closed, closed]);
        check(Mode::Secondary, Status::gate, [closed, open, open, Gate::Split, open, open, open]);
    }

    #[test]
    fn transitions_from_each_stage() {
        for mode in [Mode::Primary, Mode::Secondary] {
            for stage in Stage::ALL {
                let from = Status { mode, stage, error: Some(Errno::ENOENT) };
                let to = |stage, error| Status { mode, stage, error };
                assert_eq!(from.started(), to(Stage::Running, None));
                let end = if mode == Mode::Primary { MISSED } else { STOPPED };
                assert_eq!(from.stopped(), to(end, None));
                assert_eq!(status(mode, stage).stopped(), to(STOPPED, None));
                assert_eq!(from.failing_over(), to(Stage::Failover, Some(Errno::ENOENT)));
                assert_eq!(from.failed_over(Ok(())), to(OVER, None));
                assert_eq!(
                    from.failed_over(Err(Errno::ERANGE)),
                    to(Stage::FailoverFailed, Some(Errno::ERANGE))
                );
                // The first error stays.
                assert_eq!(from.lost_backup(), from);
                let error = (stage == Stage::Running).then_some(Errno::EIO);
                assert_eq!(status(mode, stage).lost_backup(), to(stage, error));
            }
        }
    }

    #[test]
    fn checkpointed_in_each_stage() {
        for stage in Stage::ALL {
            let good = status(Mode::Secondary, stage);
            let bad = Status { error: Some(Errno::ENOMEM), ..good };
            let is_running = stage == Stage::Running;
            assert_eq!(good.checkpointed(Ok(())), good);
            assert_eq!(bad.checkpointed(Ok(())), if is_running { good } else { bad });
            assert_eq!(good.checkpointed(Err(Errno::ENOMEM)), if is_running { bad } else { good });
            // The first error stays.
            assert_eq!(bad.checkpointed(Err(Errno::EIO)), bad);
        }
    }

    #[test]
    fn lost_change_in_each_stage() {
        let lost = |s: Status| (s.lost_change(Errno::ENOMEM).stage, s.lost_change(Errno::ENOMEM).error);
        let same = Stage::ALL.map(|stage| (stage, None));
        check(Mode::Secondary, lost, same);
        let mut expected = same;
        expected[1].1 = Some(Errno::ENOMEM);
        expected[4].0 = MISSED;
        check(Mode::Primary, lost, expected);
        let first = Status { error: Some(Errno::ENOENT), ..status(Mode::Primary, Stage::Running) };
        assert_eq!(first.lost_change(Errno::ENOMEM), first);
    }
}
