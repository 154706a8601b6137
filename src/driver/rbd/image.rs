// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! An open image: what it is, and how requests learn of what others do to it.
//!
//! A write needs to know all snapshots, or it changes the newest one unnoticed. So it passes a gate; who makes a snapshot closes
//! it, waits until no write is in flight, and opens it with the new snapshot known. When another client has changed the header
//! the next write reads it again before it goes on.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use super::format::calls::Call;
use super::format::features::{Features, OpFeatures};
use super::format::header::{Identity, Snapshot, State};
use super::format::notify::Message;
use super::lock::Lease;
use super::lookup::{Finder, Kind};
use super::map::Map;
use super::refusal::{self, Access};
use super::status::Seen;
use super::unanswered::Unanswered;
use super::watch::Lookout;
use crate::backend::rados::PoolHandle;
use crate::errno::{Errno, ToErrno};
use crate::host::{qemu, Exclusive, Gate, Request, Shared};

/// How long others have to acknowledge that the header has changed, in milliseconds. Those who don't will find out themselves.
const ANNOUNCE_TIMEOUT: u64 = 5000;

/// What requests must agree on.
#[derive(Debug)]
pub(super) struct Head {
    /// Where writes go, so that the snapshots keep what they have.
    pub(super) writer: PoolHandle,
    /// The same for removals, which need not wait when the pool is full.
    pub(super) remover: PoolHandle,
    /// What the header says.
    pub(super) state: State,
    /// The oldest first; all kinds.
    pub(super) snapshots: Vec<Snapshot>,
    /// What else was done with the image.
    pub(super) operations: OpFeatures,
    /// Which objects are there, while the lock is ours.
    pub(super) map: Option<Map>,
}

/// An open image, or a snapshot of one.
#[derive(Debug)]
pub(super) struct Image {
    /// For messages.
    pub(super) name: CString,
    pub(super) kind: Kind,
    /// The object with the header, and where it is.
    pub(super) header: CString,
    pub(super) meta: Arc<PoolHandle>,
    pub(super) identity: Identity,
    /// Where reads go: to what is there now, or to the snapshot.
    pub(super) reader: PoolHandle,
    pub(super) snapshot: Option<u64>,
    pub(super) writable: bool,
    /// The size in bytes.
    pub(super) size: AtomicI64,
    /// The largest size that QEMU may believe in.
    pub(super) told: AtomicI64,
    /// The snapshots, for those who may not wait.
    pub(super) listed: Mutex<Arc<Vec<Snapshot>>>,
    /// Only the holder of the lock may write, as far as it is known; for those who may not wait.
    pub(super) locked: AtomicBool,
    /// The header has changed since it was read.
    pub(super) stale: AtomicBool,
    /// There is no watch that works, so nobody tells us of changes.
    pub(super) deaf: AtomicBool,
    /// How many announcements of our own are under way.
    announcing: AtomicU32,
    pub(super) gate: Gate<Head>,
    /// What was sent and may still be done, although nobody waits for it.
    pub(super) unanswered: Arc<Unanswered>,
    /// The lock is ours, and was not lost since.
    pub(super) owns: AtomicBool,
    /// The lock may be ours although no write relies on it: its cluster has not answered.
    pub(super) undecided: AtomicBool,
    /// The lock was taken for a change, and not given back since but to who has asked for it: then it is taken again when that one
    /// has no use for it any more.
    pub(super) wanted: AtomicBool,
    /// How the cluster knows that. Taken after the gate, if both are.
    pub(super) lease: Gate<Lease>,
    /// Which objects there are, as seen without the lock.
    pub(super) seen: Mutex<Option<Seen>>,
    /// What the user was told last of why nothing can be written.
    pub(super) complaint: Mutex<Option<String>>,
    /// This client was shut out.
    pub(super) fenced: AtomicBool,
    /// The snapshot that is read, or the image, was removed by another client: no object of it is there.
    gone: AtomicBool,
    pub(super) lookout: Arc<Lookout>,
}

/// What an [`Image`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name: CString,
    pub(super) kind: Kind,
    pub(super) header: CString,
    pub(super) meta: Arc<PoolHandle>,
    pub(super) identity: Identity,
    pub(super) reader: PoolHandle,
    pub(super) snapshot: Option<u64>,
    pub(super) writable: bool,
    pub(super) size: i64,
    pub(super) head: Head,
}

impl Image {
    /// An image whose header has just been read. `unanswered` is what its connection has sent before.
    pub(super) fn new(parts: Parts, unanswered: Arc<Unanswered>) -> Self {
        Self {
            name: parts.name,
            kind: parts.kind,
            header: parts.header,
            meta: parts.meta,
            identity: parts.identity,
            reader: parts.reader,
            snapshot: parts.snapshot,
            writable: parts.writable,
            size: AtomicI64::new(parts.size),
            told: AtomicI64::new(parts.size),
            listed: Mutex::new(Arc::new(parts.head.snapshots.clone())),
            locked: AtomicBool::new(Self::needs_lock(&parts.head)),
            stale: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            announcing: AtomicU32::new(0),
            gate: Gate::new(parts.head),
            unanswered,
            owns: AtomicBool::new(false),
            lease: Gate::new(Lease::default()),
            seen: Mutex::new(None),
            undecided: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            complaint: Mutex::new(None),
            fenced: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            lookout: Arc::default(),
        }
    }

    /// The size in bytes, as far as it is known.
    pub(super) fn size(&self) -> i64 {
        self.size.load(Ordering::Acquire)
    }

    /// All snapshots as far as they are known, the oldest first.
    pub(super) fn listed(&self) -> Arc<Vec<Snapshot>> {
        Arc::clone(&self.listed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks and changes the header.
    pub(super) fn finder<'a>(&'a self, rq: &'a Request) -> Finder<'a> {
        Finder { rq, pool: &self.meta }
    }

    /// Lets a write pass, with what it has to know, and with the lock if the image has one.
    pub(super) async fn enter(self: &Arc<Self>, rq: &Request) -> Result<Shared<'_, Head>, Error> {
        if !self.writable {
            return Err(Errno::EROFS.into());
        }
        // Who hears nothing of the others has to look at the header every time.
        let mut looked = false;
        loop {
            self.check_fenced()?;
            let head = self.gate.shared(rq).await?;
            if (looked || !self.deaf.load(Ordering::Acquire)) && self.may_write(&head) {
                return Ok(head);
            }
            drop(head);
            let mut head = self.gate.exclusive(rq).await?;
            self.make_ready(rq, &mut head).await?;
            looked = true;
        }
    }

    /// Lets a write pass if nothing stands against it.
    pub(super) fn try_enter(&self) -> Option<Shared<'_, Head>> {
        if !self.writable || self.fenced.load(Ordering::Acquire) {
            return None;
        }
        self.gate.try_shared().filter(|head| !self.deaf.load(Ordering::Acquire) && self.may_write(head))
    }

    /// Whether the header is known as it is, and the lock ours if there is one.
    fn may_write(&self, head: &Head) -> bool {
        !self.stale.load(Ordering::Acquire) && (self.owns.load(Ordering::Acquire) || !Self::needs_lock(head))
    }

    /// Sees to it that a write may go out, or the header be changed.
    async fn make_ready(self: &Arc<Self>, rq: &Request, head: &mut Head) -> Result<(), Error> {
        self.check_fenced()?;
        if self.deaf.load(Ordering::Acquire) {
            self.stale.store(true, Ordering::Release);
            self.need_watch();
        }
        self.catch_up_alone(rq, head).await.inspect_err(|error| self.complain(error))?;
        if Self::needs_lock(head) && !self.owns.load(Ordering::Acquire) {
            self.acquire(rq, head).await.inspect_err(|error| self.complain(error))?;
        } else if !Self::needs_lock(head) && self.owns.swap(false, Ordering::AcqRel) {
            // The feature was taken away, which takes the lock; so there is none of ours any more.
            head.map = None;
        }
        Ok(())
    }

    /// Tells the user why nothing can be written, once; a request only has a number for that.
    fn complain(&self, error: &Error) {
        if matches!(error, Error::Errno(_) | Error::Fenced(_)) {
            return;
        }
        let text = error.to_string();
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&text) {
            qemu::report_error(&text);
            *last = Some(text);
        }
    }

    /// Reads the header again if it has changed.
    pub(super) async fn catch_up(&self, rq: &Request) -> Result<(), Error> {
        let mut head = self.gate.exclusive(rq).await?;
        self.catch_up_alone(rq, &mut head).await
    }

    /// As [`Image::catch_up`], for who is alone already.
    async fn catch_up_alone(&self, rq: &Request, head: &mut Head) -> Result<(), Error> {
        if !self.stale.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let done = self.read_header(rq, head).await;
        if done.is_err() {
            self.stale.store(true, Ordering::Release);
        }
        done
    }

    /// Reads the header.
    pub(super) async fn read_header(&self, rq: &Request, head: &mut Head) -> Result<(), Error> {
        let state = self.finder(rq).state(&self.kind, &self.header, &self.identity, !self.writable).await;
        let (state, snapshots) = state.inspect_err(|error| {
            self.noted(error.errno());
        })?;
        let access = if self.writable { Access::Write } else { Access::Read };
        refusal::check_open(access, state.features, state.incompatible)?;
        if self.snapshot.is_none() {
            // It may have been opened while it was being made.
            refusal::check_parent(state.parent_overlap)?;
        }
        head.operations = if state.features.contains(Features::OPERATIONS) {
            self.finder(rq).operations(&self.header).await?
        } else {
            OpFeatures::default()
        };
        if state.snap_context != head.state.snap_context {
            head.writer = writer(&self.reader, self.snapshot, &state)?;
            head.remover = writer(&self.reader, self.snapshot, &state)?.also_when_full();
        }
        match self.snapshot {
            None => self.size.store(state.size, Ordering::Release),
            // It goes to the trash before its objects do.
            Some(id) if !snapshots.iter().any(|snap| snap.info.id == id && snap.is_users()) => self.vanish(),
            Some(_) => {}
        }
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshots.clone());
        if let Some(map) = head.map.as_ref().filter(|_| !state.flags.object_map_is_valid()) {
            map.distrust();
        }
        head.state = state;
        head.snapshots = snapshots;
        self.locked.store(Self::needs_lock(head), Ordering::Release);
        Ok(())
    }

    /// What is read was removed by another client: from here on nothing is a hole any more.
    pub(super) fn vanish(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            let what = if self.snapshot.is_some() { "the snapshot that is read here" } else { "the image" };
            qemu::report_error(&format!(
                "rbd image '{}': {what} was removed by another client, and can't be read any more",
                self.text()
            ));
        }
    }

    /// Whether an object that isn't there is missing because the image was removed, as far as that is known.
    pub(super) fn check_gone(&self) -> Result<(), Error> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Errno::ENOENT.into());
        }
        Ok(())
    }

    /// Finds out whether an object that isn't there is a hole: of a snapshot that was removed none is there, and its reader may not
    /// have heard of that yet.
    pub(super) async fn check_there(&self, rq: &Request) -> Result<(), Error> {
        if self.snapshot.is_some() {
            self.stale.store(true, Ordering::Release);
            self.catch_up(rq).await?;
        }
        self.check_gone()
    }

    /// Whether the lock is known to be ours. Who hears nothing of the others can't know.
    pub(super) fn has_lock(&self) -> bool {
        self.owns.load(Ordering::Acquire) && !self.deaf.load(Ordering::Acquire)
    }

    /// Keeps writes away to change the header, which is known as it is now; without the lock, as it was a moment ago. Outside of
    /// coroutines the node has to be drained: a write in flight would need the thread that waits for it here.
    pub(super) async fn alone(self: &Arc<Self>, rq: &Request) -> Result<Exclusive<'_, Head>, Error> {
        if !self.writable {
            return Err(Errno::EROFS.into());
        }
        let mut head = self.gate.exclusive(rq).await?;
        if !Self::needs_lock(&head) {
            // What is being announced was not heard yet, and nobody waits for this client.
            self.stale.store(true, Ordering::Release);
        }
        self.make_ready(rq, &mut head).await?;
        refusal::check_maintenance(head.operations)?;
        self.await_unanswered(rq).await?;
        Ok(head)
    }

    /// Tells the other clients that the header has changed, and waits until they know.
    pub(super) async fn announce(&self, rq: &Request) {
        self.announcing.fetch_add(1, Ordering::AcqRel);
        let message = Message::HeaderUpdate.encode();
        // Whoever doesn't answer is gone, or finds out later; the change itself has been made.
        drop(self.meta.notify(rq, &self.header, &message, ANNOUNCE_TIMEOUT).await);
        self.announcing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether a notification of the client with that number is what we have just said ourselves.
    pub(super) fn is_announcing(&self, client: u64) -> bool {
        self.announcing.load(Ordering::Acquire) > 0 && self.is_own(client)
    }

    /// Whether that is the number of our connection.
    pub(super) fn is_own(&self, client: u64) -> bool {
        client == self.meta.cluster().instance_id()
    }

    /// Has the header do something.
    pub(super) async fn call_header(&self, rq: &Request, call: &Call) -> Result<(), Errno> {
        self.finder(rq).call(&self.header, call).await
    }

    /// Forgets what is known of objects without the lock; what a snapshot has never changes.
    pub(super) fn forget_map(&self) {
        self.lookout.hear();
        if self.snapshot.is_some() {
            return;
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Where writes go.
pub(super) fn writer(reader: &PoolHandle, snapshot: Option<u64>, state: &State) -> Result<PoolHandle, Errno> {
    match snapshot {
        // Nothing is written there.
        Some(id) => reader.at_snapshot(id),
        None => reader.with_snapshots(state.snap_context.seq(), state.snap_context.ids()),
    }
}
