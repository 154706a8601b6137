// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Start, checkpoint, stop and failover: what the machine allows is done, all of it or nothing.
//!
//! Runs in the main loop. What is called here may let the event loop run, so no lock is held meanwhile; a job's end comes back
//! through [`Replication::backup_ended`] and [`Replication::commit_ended`], also from within a cancel.

use super::error::Error;
use super::machine::{Mode, StageError, Status, Verdict};
use super::options::Options;
use super::state::{Held, Replication};
use crate::errno::{Errno, ToErrno};
use crate::host::qemu::{report_error, report_warning, Bs};
use crate::host::replication::{Disks, Job};
use crate::host::Child;

impl Replication {
    /// Starts the replication as `wanted`.
    ///
    /// # Errors
    /// Why it can't be started. Then all that it has taken is given back.
    pub fn start(&self, bs: Bs, wanted: Mode) -> Result<(), Error> {
        if self.status.now().start(wanted)? == Verdict::Ignore {
            return Ok(());
        }
        // DIVERGES: a start that fails leaves nothing behind and can be repeated; in the C driver children, blocker and writable
        // disks stay, and the next start aborts.
        let started = self.start_now(bs, wanted);
        if started.is_err() {
            self.let_go(bs);
        }
        started
    }

    fn start_now(&self, bs: Bs, wanted: Mode) -> Result<(), Error> {
        if let Options::Secondary { top_id } = &self.options {
            self.start_secondary(bs, top_id)?;
        }
        // A primary's secondary may have missed a change just now.
        self.status.try_step(|now| now.start(wanted).map(|_| now.started()))?;
        Ok(())
    }

    /// Gets all that a secondary needs, and begins with a checkpoint.
    fn start_secondary(&self, bs: Bs, top_id: &str) -> Result<(), Error> {
        check_writable(bs)?;
        let disks = bs.examine_disks();
        check_disks(&disks)?;
        let (hidden, secondary) = (disks.hidden_read_only, disks.secondary_read_only);
        bs.reopen_disks(hidden, secondary, true).map_err(Error::Host)?;
        self.held().was_read_only = (hidden, secondary);
        let (hidden, secondary) = bs.attach_disks().map_err(Error::Host)?;
        {
            let mut held = self.held();
            (held.hidden, held.secondary) = (Some(hidden), Some(secondary));
        }
        let blocker = bs.block_top(top_id).ok_or(Error::Disks("No top_bs or it is invalid"))?;
        self.held().blocker = Some(blocker);
        let backup = bs.start_backup(secondary, hidden).map_err(Error::Host)?;
        self.held().backup = Some(backup);
        self.begin_anew(hidden)
    }

    /// Makes a checkpoint.
    ///
    /// # Errors
    /// Why there is none.
    pub fn checkpoint(&self, bs: Bs) -> Result<(), Error> {
        let has_backup = self.held().backup.is_some();
        if self.status.now().checkpoint(has_backup)? == Verdict::Ignore {
            return Ok(());
        }
        check_writable(bs)?;
        let hidden = self.check_chain(bs)?;
        self.begin_anew(hidden)
    }

    /// The hidden disk, if that is still behind the active one.
    // DIVERGES: with another disk in between a checkpoint or stop would empty the wrong ones; the C driver does.
    fn check_chain(&self, bs: Bs) -> Result<Child, Error> {
        let hidden = self.held().hidden.ok_or(Errno::ENOMEDIUM)?;
        if bs.is_behind(hidden) {
            return Ok(hidden);
        }
        let error = Error::Disks("The active disk has another backing file than at the start");
        self.status.step(|now| now.failed(error.errno()));
        Err(error)
    }

    /// From here on the secondary's guest sees what the primary has written.
    // DIVERGES: without a request in between, as the primary's next write would be copied to a disk that is emptied then; in the C
    // driver it is.
    fn begin_anew(&self, hidden: Child) -> Result<(), Error> {
        hidden.drained(|| {
            self.backup()?.checkpoint().map_err(Error::Host)?;
            // The backup may end while the event loop runs; then there is an error that no checkpoint clears, as none succeeds.
            let emptied = self.empty_disks().and_then(|()| self.backup().map(drop));
            let result = number(&emptied);
            self.status.step(|now| now.checkpointed(result));
            emptied
        })
    }

    /// What copies what is overwritten.
    fn backup(&self) -> Result<Job, Error> {
        Ok(self.held().backup.ok_or(StageError::NoBackup)?)
    }

    /// Forgets what the secondary's guest has written, and what it needed to be shown.
    fn empty_disks(&self) -> Result<(), Error> {
        empty("Active", self.file)?;
        let hidden = self.held().hidden;
        empty("Hidden", hidden.ok_or(Errno::ENOMEDIUM)?)
    }

    /// Tells whether something has gone wrong.
    ///
    /// # Errors
    /// What has.
    pub fn get_error(&self) -> Result<(), Error> {
        Ok(self.status.now().get_error()?)
    }

    /// Stops the replication; with `failover` the secondary's guest goes on with what it has.
    ///
    /// # Errors
    /// Why it can't be stopped, and it goes on; or what failed on the way: then it is stopped, or its failover has failed.
    pub fn stop(&self, bs: Bs, failover: bool) -> Result<(), Error> {
        if self.status.now().stop(failover)? == Verdict::Ignore {
            return Ok(());
        }
        if self.mode() == Mode::Primary {
            self.status.step(Status::stopped);
            return Ok(());
        }
        if failover {
            // QEMU's command drops the errors of a failover, so whoever asks has to learn of one that doesn't begin.
            check_writable(bs).inspect_err(|error| self.status.step(|now| now.failed(error.errno())))?;
            self.fail_over(bs)
        } else {
            check_writable(bs)?;
            self.check_chain(bs)?;
            self.stop_secondary(bs)
        }
    }

    /// Gives up what the secondary's guest has written.
    // DIVERGES: a plain stop of a secondary empties the active and the hidden disk and succeeds; the C driver's always fails,
    // and leaves them as they are.
    fn stop_secondary(&self, bs: Bs) -> Result<(), Error> {
        self.end_backup(bs);
        let emptied = self.empty_disks();
        self.let_go(bs);
        let error = number(&emptied).err();
        self.status.step(|now| Status { error, ..now.stopped() });
        emptied
    }

    /// Moves what the secondary's guest has written to the secondary disk.
    fn fail_over(&self, bs: Bs) -> Result<(), Error> {
        let (file, secondary) = (self.file, self.held().secondary.ok_or(Errno::EIO)?);
        self.end_backup(bs);
        self.status.step(Status::failing_over);
        match bs.start_commit(file, secondary) {
            Ok(job) => {
                self.held().commit = Some(job);
                Ok(())
            }
            Err(error) => {
                // DIVERGES: a failover that can't begin has failed; in the C driver it seems to run for ever, and close crashes. It
                // is no error of the stop, with which QEMU's core would leave out all other nodes.
                self.not_failed_over(Errno::EIO);
                report_error(&format!("replication node '{}': its failover can't begin: {error}", bs.name()));
                Ok(())
            }
        }
    }

    /// The failover has failed.
    fn not_failed_over(&self, errno: Errno) {
        // With no request in flight: one that still goes to the active disk may copy what is around it there, and hide what the next
        // one writes to the secondary disk.
        self.file.drained(|| self.status.step(|now| now.failed_over(Err(errno))));
    }

    /// The backup has ended: we have cancelled it, or it has failed.
    pub fn backup_ended(&self) {
        let mut held = self.held();
        let (backup, blocker) = (held.backup.take(), held.blocker.take());
        drop(held);
        if let Some(blocker) = blocker {
            blocker.unblock();
        }
        // Of one that we cancel nothing is held any more.
        if backup.is_some() {
            self.status.step(Status::lost_backup);
        }
    }

    /// The failover is over.
    pub fn commit_ended(&self, bs: Bs, result: Result<(), Errno>) {
        self.held().commit = None;
        if let Err(errno) = result {
            return self.not_failed_over(errno);
        }
        self.status.step(|now| now.failed_over(Ok(())));
        // They are merged, and the secondary disk is the filtered one now.
        self.held().was_read_only = (false, false);
        self.let_go(bs);
    }

    /// Ends the backup, if there is one.
    fn end_backup(&self, bs: Bs) {
        let backup = self.held().backup.take();
        if let Some(backup) = backup {
            backup.cancel(bs, true);
        }
    }

    /// Gives back whatever a secondary holds, so that it is as before its start.
    fn let_go(&self, bs: Bs) {
        self.end_backup(bs);
        let Held { was_read_only: (hidden_was, secondary_was), hidden, secondary, blocker, .. } =
            std::mem::take(&mut *self.held());
        if let Some(blocker) = blocker {
            blocker.unblock();
        }
        let is_the_chain = hidden.is_none_or(|hidden| bs.is_behind(hidden));
        let children: Vec<Child> = secondary.into_iter().chain(hidden).collect();
        if !children.is_empty() {
            bs.detach_disks(&children);
        }
        if !is_the_chain || !(hidden_was || secondary_was) {
            return;
        }
        // A disk that can't become read-only again stays as it is; nobody here writes to it any more.
        if let Err(error) = bs.reopen_disks(hidden_was, secondary_was, false) {
            report_warning(&format!(
                "replication node '{}': can't make its disks read-only again: {error}",
                bs.name()
            ));
        }
    }

    /// The node is going, in whatever stage, and after whatever panic: what runs is ended, and what is held is given back. What the
    /// disks contain stays there.
    pub fn close(&self, bs: Bs) {
        let commit = self.held().commit.take();
        if let Some(commit) = commit {
            commit.cancel(bs, false);
        }
        self.let_go(bs);
        self.set_registration(None);
    }
}

/// What the status keeps of a failure.
fn number(result: &Result<(), Error>) -> Result<(), Errno> {
    result.as_ref().map_err(ToErrno::errno).copied()
}

/// Empties a disk.
fn empty(which: &'static str, disk: Child) -> Result<(), Error> {
    disk.make_empty().map_err(|(errno, error)| {
        if errno == Errno::ENOMEDIUM && !error.is_some() {
            return Error::Ejected(which, disk.node_name());
        }
        Error::Empty(errno, error)
    })
}

/// Whether a secondary may change its disks, which it may not where it is inactive.
// DIVERGES: a secondary that can't be written to is refused, and goes on; the C driver aborts when it empties the active disk.
fn check_writable(bs: Bs) -> Result<(), Error> {
    if bs.is_writable() {
        return Ok(());
    }
    Err(Error::NotWritable)
}

/// Whether a secondary can run with these disks.
fn check_disks(disks: &Disks) -> Result<(), Error> {
    let lengths = [disks.active_length, disks.hidden_length, disks.secondary_length];
    let problem = if !disks.has_hidden {
        "Active disk doesn't have backing file"
    } else if !disks.has_secondary {
        "Hidden disk doesn't have backing file"
    } else if !disks.secondary_has_user {
        "The secondary disk doesn't have block backend"
    } else if lengths.iter().any(|length| *length < 0 || *length != disks.active_length) {
        "Active disk, hidden disk, secondary disk's length are not the same"
    } else if !disks.can_be_emptied {
        "Active disk or hidden disk doesn't support make_empty"
    } else {
        return Ok(());
    };
    Err(Error::Disks(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Disks = Disks {
        has_hidden: true,
        has_secondary: true,
        secondary_has_user: true,
        can_be_emptied: true,
        hidden_read_only: false,
        secondary_read_only: false,
        active_length: 4096,
        hidden_length: 4096,
        secondary_length: 4096,
    };

    #[test]
    fn check_disks_names_the_first_problem() {
        assert!(check_disks(&GOOD).is_ok());
        for (disks, words) in [
            (Disks { has_hidden: false, has_secondary: false, ..GOOD }, "Active disk doesn't"),
            (Disks { has_secondary: false, secondary_has_user: false, ..GOOD }, "Hidden disk doesn't"),
            (Disks { secondary_has_user: false, can_be_emptied: false, ..GOOD }, "block backend"),
            (Disks { active_length: -5, hidden_length: -5, secondary_length: -5, ..GOOD }, "length"),
            (Disks { active_length: 512, can_be_emptied: false, ..GOOD }, "length"),
            (Disks { hidden_length: 512, ..GOOD }, "length"),
            (Disks { secondary_length: 512, ..GOOD }, "length"),
            (Disks { can_be_emptied: false, ..GOOD }, "make_empty"),
        ] {
            let error = check_disks(&disks).unwrap_err();
            assert!(error.to_string().contains(words), "{disks:?}: {error}");
        }
    }
}
