// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changes of objects that nobody waits for any more: with `rados_osd_op_timeout` the library gives an operation up, but what it has
//! sent may still be done when the cluster is back.
//!
//! So before another client gets the lock, or a snapshot is made, each of these objects is asked for once more, in order with its
//! changes: a server does these in the order in which one client has sent them, so once it has answered nothing older is on its way.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::image::Image;
use super::window::for_each;
use crate::errno::Errno;
use crate::host::Request;

/// How many objects are remembered. With more of them the lock is not given back any more: another client has to shut this one out.
const MOST: usize = 65_536;

/// The objects of an image. They belong to the connection, which is how the cluster knows who has sent what: a node that is reopened, or
/// another one that comes to the same connection later, has to know them.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<BTreeSet<u64>>);

impl Unanswered {
    fn objects(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no such object.
    pub(super) fn is_empty(&self) -> bool {
        self.objects().is_empty()
    }

    /// Whether there were too many of them, so that this client can never say again that nothing is on its way.
    pub(super) fn is_full(&self) -> bool {
        self.objects().len() >= MOST
    }

    /// Remembers one more.
    fn add(&self, object: u64) {
        let mut objects = self.objects();
        if objects.len() < MOST {
            objects.insert(object);
        }
    }
}

impl Image {
    /// Looks at how the change of an object has ended.
    pub(super) fn ended(&self, object: u64, result: Result<(), Errno>) -> Result<(), Errno> {
        if result.is_err_and(|errno| errno.code() == libc::ETIMEDOUT) {
            self.unanswered.add(object);
        }
        result
    }

    /// Sees to it that no change is on its way any more, with none in flight.
    ///
    /// # Errors
    /// `ETIMEDOUT` if that can't be found out, or takes too long; the cluster's.
    pub(super) async fn await_unanswered(&self, rq: &Request) -> Result<(), Errno> {
        if self.snapshot.is_some() {
            // Reads of a snapshot are in no order with changes, and who reads it makes none.
            return Ok(());
        }
        if self.unanswered.is_full() {
            return Err(Errno::from_code(libc::ETIMEDOUT));
        }
        let objects = self.unanswered.objects().clone();
        let start = |object: &u64| {
            let name = self.identity.names.name(*object);
            self.reader.exists_in_order(rq, name.as_c_str())
        };
        let answered = |object: &u64, ret| match Errno::check(ret) {
            Err(errno) if errno != Errno::ENOENT => Err(self.noted(errno)),
            _ => {
                self.unanswered.objects().remove(object);
                Ok(())
            }
        };
        for_each(rq, objects.into_iter(), start, answered).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_can_be_remembered_is_never_forgotten() {
        let unanswered = Unanswered::default();
        assert!(unanswered.is_empty());
        for object in 0..u64::try_from(MOST).unwrap() {
            assert!(!unanswered.is_full());
            unanswered.add(object);
            unanswered.add(object);
        }
        unanswered.add(u64::MAX);
        assert!(unanswered.is_full() && !unanswered.is_empty());
    }
}
